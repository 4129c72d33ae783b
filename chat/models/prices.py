"""Prices that the admin has set."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q

from chat.core.prices import HIGHEST_PRICE, Price
from chat.models.provider_calls import PRICE_VALIDATORS


class ModelPrice(models.Model):
    """A model's price from a day on, where the site knows better than CHAT_PRICES and the published lists."""

    model = models.CharField(max_length=200, help_text="provider:model, as in CHAT_MODELS.")
    since = models.DateField(help_text="The first day of this price, UTC. Calls that are settled keep their cost.")
    input = models.DecimalField(max_digits=12, decimal_places=6, validators=PRICE_VALIDATORS)
    output = models.DecimalField(max_digits=12, decimal_places=6, validators=PRICE_VALIDATORS)
    cached = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=PRICE_VALIDATORS,
        help_text="Cached input; empty when it costs as much as other input.",
    )
    written = models.DecimalField(
        "written to the cache",
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=PRICE_VALIDATORS,
        help_text="Input that is written to the provider's cache; empty for 1.25 times the price of input.",
    )
    written_hour = models.DecimalField(
        "written to the cache for 1 h",
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=PRICE_VALIDATORS,
        help_text="Input that is written to the cache for an hour; empty for twice the price of input.",
    )
    search = models.DecimalField(
        "1,000 web searches",
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=PRICE_VALIDATORS,
        help_text="US dollars for a thousand web searches of the provider; empty when they cost nothing.",
    )

    class Meta:
        ordering = ("model", "-since")
        constraints = (
            models.UniqueConstraint(fields=("model", "since"), name="one_price_a_day"),
            # An impossible price breaks every sum that includes it. Both databases sort NaN above all numbers.
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}__range": (0, HIGHEST_PRICE)}), name=f"an_{name}_price_is_possible"
                )
                for name in ("input", "output")
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__range": (0, HIGHEST_PRICE)}),
                    name=f"a_{name}_price_is_possible",
                )
                for name in ("cached", "written", "written_hour", "search")
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} since {self.since}"

    @property
    def price(self) -> Price:
        """The row as a `Price`, which computes the cost of a call."""
        return Price(
            self.input,
            self.output,
            self.input if self.cached is None else self.cached,
            self.written,
            self.written_hour,
            self.search or Decimal(0),
        )
