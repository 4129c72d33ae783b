"""Limits of users and groups, and the meters that count what is used and held of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.provider_calls import ProviderCall


class Period(models.TextChoices):
    """The length of a limit's window; `chat.accounting.periods` says when it begins."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Limit(models.Model):
    """A limit of one user, or of each user of a group, in place of the site's; `chat.accounting.quotas` applies it."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="own_limit"
    )
    group = models.OneToOneField(
        "auth.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="limit", help_text="For each user."
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, help_text="Questions and retries.")
    live_answers = models.PositiveIntegerField(null=True, blank=True, help_text="Answers being written at once.")
    tokens_per_day = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Input and output, by days of the site's time zone."
    )
    cost_per_month = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="US dollars, by months of the site's time zone.",
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                name="a_limit_is_of_a_user_or_of_a_group",
                violation_error_message="Choose a user or a group.",
            ),
            models.CheckConstraint(
                condition=Q(cost_per_month__isnull=True) | Q(cost_per_month__gte=0), name="a_cost_limit_is_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"Limit of {self.user or self.group}"


class MeterKey(NamedTuple):
    """The key of a meter: the limit's owner, the measure, and the window; written as `user/7/tokens/2026-11-28`."""

    scope: Literal["user", "budget"]
    owner: int
    """The id of the user or of the budget."""
    measure: str
    """The measure: requests, live, tokens or cost."""
    window: str

    def __str__(self) -> str:
        """Return the key as the database has it."""
        return "/".join(map(str, self))

    @classmethod
    def parse(cls, key: str) -> MeterKey:
        """Return what `str` wrote."""
        scope, owner, measure, window = key.split("/")
        return cls("budget" if scope == "budget" else "user", int(owner), measure, window)


class Meter(models.Model):
    """The used and held amounts of one limit in one window; `chat.accounting.meters` writes them.

    Its key is a `MeterKey`. Amounts are tokens, requests, answers, or money in units of 0.00000001 US dollars.
    """

    key = models.CharField(max_length=120, primary_key=True)
    begins = models.DateTimeField(help_text="When the window begins.")
    until = models.DateTimeField(help_text="When it ends.")
    used = models.BigIntegerField(default=0, help_text="By requests that were admitted, and by calls that have ended.")
    held = models.BigIntegerField(default=0, help_text="By calls that are under way.")
    most = models.BigIntegerField(null=True, help_text="The limit, as the last call was admitted by it.")
    is_hard = models.BooleanField(default=True, help_text="Refuse whatever would exceed the limit.")
    told = models.PositiveSmallIntegerField(default=0, help_text="The highest threshold that was reported, in percent.")
    is_seeded = models.BooleanField(default=False, help_text="Whether it includes what the ledger had before.")
    count_again_at = models.DateTimeField(
        null=True, help_text="When the ledger is added up once more: calls that ended as it was made may be missing."
    )

    class Meta:
        # No column that changes with every call: so PostgreSQL writes no index at an update.
        indexes = (
            models.Index(fields=("until",), name="meters_by_end"),
            models.Index(
                fields=("count_again_at",), condition=Q(count_again_at__isnull=False), name="meters_to_count_again"
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def measure(self) -> str:
        """The measure: requests, live, tokens or cost."""
        return MeterKey.parse(self.key).measure


class Allowance(models.Model):
    """A user's use as the previous version counted it. Its processes still write it during an upgrade.

    The next version drops it, and with it `Reservation`; a meter begins with what the ledger has.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="allowance"
    )
    minute = models.DateTimeField(help_text="When the minute began: with its first request.")
    requests = models.PositiveIntegerField(default=0, help_text="Since the minute began.")
    day = models.DateField(help_text="The day, and with it the month, of the figures below; UTC.")
    tokens = models.PositiveBigIntegerField(default=0, help_text="Input and output of the day's calls that have ended.")
    cost = models.DecimalField(
        max_digits=14, decimal_places=8, default=0, help_text="US dollars for the month's calls that have ended."
    )

    def __str__(self) -> str:
        return f"Allowance of {self.user}"


class Reservation(models.Model):
    """The amounts that a call of the previous version holds, see `Allowance`."""

    call = models.OneToOneField(ProviderCall, primary_key=True, on_delete=models.CASCADE, related_name="reservation")
    allowance = models.ForeignKey(Allowance, on_delete=models.CASCADE, related_name="reservations")
    day = models.DateField(help_text="The day that the call counts for: when it began.")
    until = models.DateTimeField(help_text="No call takes longer; one that nobody settled holds nothing after this.")
    tokens = models.PositiveBigIntegerField()
    cost = models.DecimalField(max_digits=14, decimal_places=8)

    def __str__(self) -> str:
        return f"{self.tokens} tokens for call {self.call_id}"
