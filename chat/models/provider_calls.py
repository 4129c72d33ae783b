"""The ledger of upstream calls, and what a call costs."""

from __future__ import annotations

import uuid
from decimal import Decimal
from functools import reduce
from operator import and_
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from chat.core.events import Usage
from chat.core.failures import Cause, Failure, ProviderReport
from chat.core.prices import HIGHEST_PRICE

# The figures of a call, named as in `Usage`.
TOKEN_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "written_tokens",
    "written_hour_tokens",
    "reasoning_tokens",
)
USAGE_FIELDS = (*TOKEN_FIELDS, "searches")

NO_USAGE = Usage(0, 0)

# The most that one call can come to. More is a mistake, and enough of it would overflow the sums.
MAX_TOKENS = 1_000_000_000
MAX_SEARCHES = 1_000_000
MAX_DOLLARS = Decimal(100_000)
MAX_MILLISECONDS = 2_000_000_000


def _limit_field(name: str, most: Any) -> Q:
    return Q(**{f"{name}__gte": 0, f"{name}__lte": most})


# The rows of the ledger whose figures can be true. NaN is more than any number to both databases.
SOUND = (
    reduce(and_, (_limit_field(name, MAX_TOKENS) for name in TOKEN_FIELDS))
    & _limit_field("searches", MAX_SEARCHES)
    & (Q(cost=None) | _limit_field("cost", MAX_DOLLARS))
    & (Q(first_token_ms=None) | _limit_field("first_token_ms", MAX_MILLISECONDS))
    & (Q(total_ms=None) | _limit_field("total_ms", MAX_MILLISECONDS))
)


def is_plausible(usage: Usage) -> bool:
    """Return whether one call can have taken as many tokens and searches as `usage` says."""
    return 0 <= usage.searches <= MAX_SEARCHES and all(0 <= getattr(usage, name) <= MAX_TOKENS for name in TOKEN_FIELDS)


class Outcome(models.TextChoices):
    """The way in which an upstream call ended. An interrupted one says why in `error_code`."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class ProviderCallQuerySet(models.QuerySet["ProviderCall"]):
    """Rows of the ledger, added up by answer."""

    def sum_usages(self) -> dict[uuid.UUID, Usage]:
        """Return, by answer, the tokens of the upstream calls that wrote it, of all its runs; estimated when any is.

        The call for its conversation's title is none of them.
        """
        sums = (models.Sum(name) for name in USAGE_FIELDS)
        estimates = models.Count("pk", filter=Q(estimated=True))
        calls = self.filter(purpose=ProviderCall.Purpose.ANSWER).exclude(left_out=True)
        figures = calls.order_by().values_list("answer").annotate(*sums, estimates=estimates)
        return {
            answer: Usage(**dict(zip(USAGE_FIELDS, tokens, strict=True)), estimated=estimated > 0)
            for answer, *tokens, estimated in figures
        }


class ProviderCall(models.Model):
    """The ledger: one row for each upstream call, written when the call begins and settled when it ends.

    A row outlives its conversation and its user, because the bill does. While it is running its figures are what the
    call would cost if it ended now: whoever makes the call writes them now and then and renews the lease, and a sweep
    settles what a lost process left with the last of them.
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
    # These have defaults in the database, for rows that a process of an older version writes during an upgrade.
    written_tokens = models.PositiveIntegerField(
        "tokens written to the cache",
        default=0,
        db_default=0,
        help_text="Part of the input: written to the provider's cache for its usual time, 5 minutes at Anthropic.",
    )
    written_hour_tokens = models.PositiveIntegerField(
        "tokens written to the cache for 1 h",
        default=0,
        db_default=0,
        help_text="Part of the input: written to the provider's cache for an hour.",
    )
    reasoning_tokens = models.PositiveIntegerField(default=0)
    searches = models.PositiveIntegerField(default=0, db_default=0, help_text="Web searches that the provider made.")
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
    # What is known of a failure. These too have defaults in the database.
    error_cause = models.CharField(
        "cause",
        max_length=15,
        blank=True,
        default="",
        db_default="",
        choices=[(cause.value, cause.label) for cause in Cause],
        help_text="What an interrupted call failed of; empty in rows from before this was kept.",
    )
    error_status = models.PositiveSmallIntegerField(
        "status", null=True, help_text="The HTTP status that the provider refused the call with."
    )
    error_kind = models.CharField(
        "provider's code", max_length=100, blank=True, default="", db_default="", help_text="The provider's own codes."
    )
    error_message = models.CharField(
        "provider's words",
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="What the provider said, without secrets and without what it repeated of the conversation.",
    )
    request_id = models.CharField(
        max_length=120, blank=True, default="", db_default="", help_text="What the provider's support asks for."
    )
    counted = models.BooleanField(
        default=False, editable=False, help_text="The sums of chat.accounting.rollups have looked at this row."
    )
    # These four may be empty, also because a process of an older version writes rows without them during an upgrade.
    start = models.PositiveIntegerField(
        null=True, editable=False, help_text="The position of its answer at which the call began."
    )
    lease_until = models.DateTimeField(
        null=True, editable=False, help_text="Until when the process that makes the call answers for this row."
    )
    holds = models.JSONField(
        null=True,
        editable=False,
        help_text="What the call holds of meters until it is settled: pairs of key and amount.",
    )
    left_out = models.BooleanField(
        null=True, editable=False, help_text="Figures that cannot be true: this row is in no sum and no report."
    )

    has_place = False
    """True while its answer has a place among its user's live ones, which the answer's end gives back."""

    objects = ProviderCallQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = (
            models.Index(fields=("user", "-started_at", "-id"), name="calls_by_user"),
            models.Index(fields=("-started_at", "-id"), name="calls_by_time"),
            models.Index(fields=("model", "-started_at", "-id"), name="calls_by_model"),
            models.Index(fields=("model", "outcome", "-started_at"), name="calls_by_model_and_outcome"),
            models.Index(fields=("outcome", "-started_at", "-id"), name="calls_by_outcome"),
            # What is rare is not found along the others: the admin's list would be read to its end.
            models.Index(fields=("-started_at", "-id"), condition=Q(billed_to="site"), name="calls_for_the_site"),
            models.Index(fields=("-started_at", "-id"), condition=Q(purpose="batch"), name="calls_of_batches"),
            models.Index(fields=("-started_at", "-id"), condition=Q(purpose="test"), name="test_calls"),
            models.Index(fields=("id",), condition=Q(counted=False), name="calls_not_counted"),
            models.Index(fields=("id",), condition=Q(left_out=True), name="calls_left_out"),
        )

    def __str__(self) -> str:
        return f"{self.model} at {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def usage(self) -> Usage:
        """The row's figures."""
        return Usage(**{name: getattr(self, name) for name in USAGE_FIELDS}, estimated=self.estimated)

    @property
    def failure(self) -> Failure | None:
        """The known facts of the call's failure, if it failed and was settled by a version that keeps them."""
        if not self.error_cause:
            return None
        report = ProviderReport(self.error_status, self.error_kind, self.error_message, self.request_id)
        return Failure(Cause(self.error_cause), report)


# Dollars, as `chat.core.prices.Price` has them.
PRICE_VALIDATORS = (MinValueValidator(0), MaxValueValidator(HIGHEST_PRICE))


class ModelHealth(ProviderCall):
    """The ledger as the admin's page of models and how they do, see `chat.admin.model_health`."""

    class Meta:
        proxy = True
        verbose_name = verbose_name_plural = "model health"
        default_permissions = ("view",)
        permissions = (("test_model", "Can make a small call to a model, at the site's cost"),)
