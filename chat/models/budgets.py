"""Budgets of the site, of groups and of users, and the alerts about them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from chat.models.limits import Period
from chat.models.provider_calls import MAX_DOLLARS


class Budget(models.Model):
    """A limit for the site, a group together, or one user in a day, a week or a month; `chat.accounting.budgets`."""

    class Scope(models.TextChoices):
        SITE = "site", "the site: all calls, also those that the staff asked for"
        GROUP = "group", "a group: one pot for all of its users"
        USER = "user", "one user"

    name = models.CharField(max_length=60, unique=True, help_text="Users read it when the budget refuses a question.")
    scope = models.CharField(max_length=5, choices=Scope.choices)
    group = models.ForeignKey(
        "auth.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="budgets", help_text="Of a group."
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
        help_text="Of a user.",
    )
    period = models.CharField(
        max_length=5, choices=Period.choices, default=Period.MONTH, help_text="In the time zone of CHAT_TIME_ZONE."
    )
    tokens = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10**15)],
        help_text="Input and output.",
    )
    cost = models.DecimalField(
        "US dollars",
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_DOLLARS * 1000)],
        help_text="A model without a price does not count.",
    )
    model = models.CharField(
        "model or provider",
        max_length=200,
        blank=True,
        help_text="provider:model, or a provider alone. Empty: every model.",
    )
    is_hard = models.BooleanField(
        "refuses",
        default=True,
        help_text="Refuse questions that exceed it. Otherwise the budget only warns.",
    )
    fallback_model = models.CharField(
        max_length=200,
        blank=True,
        help_text="provider:model that is asked instead of refusing a question, where its user may use it.",
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("scope", "name")
        constraints = (
            models.CheckConstraint(
                condition=Q(scope="site", group=None, user=None)
                | Q(scope="group", group__isnull=False, user=None)
                | Q(scope="user", group=None, user__isnull=False),
                name="a_budget_is_of_the_site_a_group_or_a_user",
                violation_error_message="A group's budget names its group, a user's its user, the site's neither.",
            ),
            models.CheckConstraint(
                condition=Q(tokens__isnull=False) | Q(cost__isnull=False),
                name="a_budget_has_an_amount",
                violation_error_message="Give tokens, US dollars, or both.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raise `ValidationError` for a fallback that changes nothing."""
        super().clean()
        if self.fallback_model and not self.is_hard:
            raise ValidationError(
                {"fallback_model": "A budget that only warns refuses nothing, so nothing falls back."}
            )
        if self.fallback_model and self.model == self.fallback_model:
            raise ValidationError({"fallback_model": "The budget is of this model itself."})


class Alert(models.Model):
    """A threshold of a budget that was reached in one of its windows: each makes one alert."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="alerts")
    meter = models.CharField(max_length=120, help_text="The key of the meter that reached it.")
    threshold = models.PositiveSmallIntegerField(help_text="In percent.")
    sentence = models.CharField(max_length=400)
    until = models.DateTimeField(help_text="When the window ends.")
    created_at = models.DateTimeField(auto_now_add=True)
    dismissed_by: models.ManyToManyField[Any, Any] = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="dismissed_alerts"
    )

    class Meta:
        ordering = ("-created_at", "-threshold")
        constraints = (models.UniqueConstraint(fields=("meter", "threshold"), name="an_alert_is_given_once"),)

    def __str__(self) -> str:
        return f"{self.threshold} % of {self.budget}"


class Delivery(models.Model):
    """An alert, or the report of a month, on its way to the administrators: a row of the outbox.

    An alert's is written with what it tells of; a report is written out when it is sent. Whoever sends it claims it
    first, by a conditional UPDATE. `id` is the same at every try, so that a receiver who has had it knows it again.
    """

    class Channel(models.TextChoices):
        MAIL = "mail"
        WEBHOOK = "webhook"

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        GIVEN_UP = "given up"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alert = models.ForeignKey(Alert, null=True, on_delete=models.CASCADE, related_name="deliveries")
    month = models.DateField(null=True, help_text="The first day of the month whose report it is; empty for alerts.")
    channel = models.CharField(max_length=7, choices=Channel.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(help_text="When it is tried next; a process that tries it now holds it until then.")
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=200, blank=True, help_text="Why the last try failed.")

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-due_at",)
        constraints = (
            models.UniqueConstraint(fields=("alert", "channel"), name="an_alert_goes_out_once"),
            models.UniqueConstraint(fields=("month", "channel"), name="a_report_goes_out_once"),
            models.CheckConstraint(
                condition=Q(alert=None, month__isnull=False) | Q(alert__isnull=False, month=None),
                name="a_delivery_is_of_an_alert_or_a_month",
            ),
        )
        indexes = (models.Index(fields=("due_at",), condition=Q(state="waiting"), name="deliveries_due"),)

    def __str__(self) -> str:
        return f"{self.channel}: {self.content}"

    @property
    def content(self) -> str:
        """The content in a few words."""
        return str(self.alert) if self.month is None else f"the report of {self.month:%B %Y}"
