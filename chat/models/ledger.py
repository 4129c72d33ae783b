"""The ledger of upstream calls, and what a call costs."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from chat.events import Usage

TOKEN_FIELDS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")

NO_USAGE = Usage(0, 0)


class Outcome(models.TextChoices):
    """How an upstream call ended. An interrupted one says why in `error_code`."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class ProviderCallQuerySet(models.QuerySet["ProviderCall"]):
    def usages(self) -> dict[uuid.UUID, Usage]:
        """By answer, the tokens of all upstream calls for it; estimated when any of them is."""
        sums = (models.Sum(name) for name in TOKEN_FIELDS)
        estimates = models.Count("pk", filter=Q(estimated=True))
        figures = self.order_by().values_list("answer").annotate(*sums, estimates=estimates)
        return {
            answer: Usage(**dict(zip(TOKEN_FIELDS, tokens, strict=True)), estimated=estimated > 0)
            for answer, *tokens, estimated in figures
        }


class ProviderCall(models.Model):
    """The ledger: one row for each upstream call, written when the call begins and settled when it ends.

    A row outlives its conversation and its user, because the bill does.
    """

    class Purpose(models.TextChoices):
        ANSWER = "answer"
        TITLE = "title"
        TEST = "test"
        BATCH = "batch"

    class BilledTo(models.TextChoices):
        USER = "user"
        SITE = "site"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="calls")
    answer = models.ForeignKey("Message", null=True, on_delete=models.SET_NULL, related_name="calls")
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.ANSWER)
    billed_to = models.CharField(
        max_length=4,
        choices=BilledTo.choices,
        default=BilledTo.USER,
        help_text="Who bears it. What the staff asked for is the site's, and counts towards no user's limits.",
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="requested_calls",
        help_text="The member of staff who asked for it on the user's behalf.",
    )
    model = models.CharField(max_length=200)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=True, help_text="A figure here is ours: the provider sent none.")
    cost = models.DecimalField(
        max_digits=14,
        decimal_places=8,
        null=True,
        help_text="US dollars; empty while the model's price is not known.",
    )
    started_at = models.DateTimeField(auto_now_add=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField(null=True)
    outcome = models.CharField(max_length=11, choices=Outcome.choices, default=Outcome.RUNNING)
    error_code = models.CharField(max_length=20, blank=True)
    counted = models.BooleanField(default=False, editable=False, help_text="This row is in the sums of chat.ledger.")

    objects = ProviderCallQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = (
            models.Index(fields=("user", "-started_at", "-id"), name="calls_by_user"),
            models.Index(fields=("-started_at", "-id"), name="calls_by_time"),
            models.Index(fields=("model", "-started_at", "-id"), name="calls_by_model"),
            models.Index(fields=("model", "outcome", "-started_at"), name="calls_by_model_and_outcome"),
            models.Index(fields=("outcome", "-started_at", "-id"), name="calls_by_outcome"),
            models.Index(fields=("id",), condition=Q(counted=False), name="calls_not_counted"),
        )

    def __str__(self) -> str:
        return f"{self.model} at {self.started_at:%Y-%m-%d %H:%M}"


class ModelPrice(models.Model):
    """What a model costs from a day on, where the site knows better than CHAT_PRICES and the published lists."""

    model = models.CharField(max_length=200, help_text="provider:model, as in CHAT_MODELS.")
    since = models.DateField(help_text="The first day of this price, UTC. Calls that are settled keep their cost.")
    input = models.DecimalField(max_digits=12, decimal_places=6, validators=(MinValueValidator(0),))
    output = models.DecimalField(max_digits=12, decimal_places=6, validators=(MinValueValidator(0),))
    cached = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=(MinValueValidator(0),),
        help_text="Cached input; empty when it costs as much as other input.",
    )

    class Meta:
        ordering = ("model", "-since")
        constraints = (models.UniqueConstraint(fields=("model", "since"), name="one_price_a_day"),)

    def __str__(self) -> str:
        return f"{self.model} since {self.since}"


class ModelHealth(ProviderCall):
    """The ledger as the admin's page of models and how they do, see `chat.health`."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = "model health"
        default_permissions = ("view",)
        permissions = (("test_model", "Can make a small call to a model, at the site's cost"),)
