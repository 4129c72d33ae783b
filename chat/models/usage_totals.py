"""Totals of the ledger: sums by hour, day and month and histograms of times, which stay when its rows are pruned.

`OutcomeHour`, how the calls of each hour ended, is pruned with the rows: it is for looking at the last days.
"""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from chat.models.provider_calls import USAGE_FIELDS

# Money inside the sums is a whole number of the ledger's smallest unit (`ProviderCall.cost` has eight places): SQLite
# keeps decimals as floats, and a sum of floats depends on its order.
COST_UNIT = Decimal("0.00000001")

SUMS = ("calls", "estimated", "unpriced", *USAGE_FIELDS, "cost_units")


class Sums(models.Model):
    """Settled calls of the ledger, added up by `chat.accounting.rollups` alone. It outlives the rows that it counts."""

    outcome = models.CharField(max_length=11)
    calls = models.PositiveBigIntegerField()
    estimated = models.PositiveBigIntegerField(help_text="Calls with a figure that the site estimated.")
    unpriced = models.PositiveBigIntegerField(help_text="Calls whose cost is not known.")
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    # These have defaults in the database, for rows that a process of an older version writes during an upgrade.
    written_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    written_hour_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    searches = models.PositiveBigIntegerField(default=0, db_default=0)
    cost_units = models.PositiveBigIntegerField(help_text="In units of 0.00000001 US dollars.")

    class Meta:
        abstract = True


class ModelSums(Sums):
    """Sums that also tell models and error codes apart."""

    model = models.CharField(max_length=200)
    error_code = models.CharField(max_length=20)

    class Meta:
        abstract = True


class UsageDay(ModelSums):
    """All users of one day, UTC."""

    day = models.DateField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("day", "model", "outcome", "error_code"), name="usage_day"),)

    def __str__(self) -> str:
        return f"{self.model} on {self.day}"


class UsageMonth(ModelSums):
    """All users of one month."""

    month = models.DateField(help_text="Its first day.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("month", "model", "outcome", "error_code"), name="usage_month"),)

    def __str__(self) -> str:
        return f"{self.model} in {self.month:%Y-%m}"


class UsageHour(ModelSums):
    """All users of one hour, by what the calls were for."""

    hour = models.DateTimeField(help_text="When it begins.")
    purpose = models.CharField(max_length=10)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("hour", "purpose", "model", "outcome", "error_code"), name="usage_hour"),
        )

    def __str__(self) -> str:
        return f"{self.model} for {self.purpose} at {self.hour:%Y-%m-%d %H}:00"


class UsageMonthHour(Sums):
    """All users of one hour of the day in all days of a month, by what the calls were for."""

    month = models.DateField(help_text="Its first day.")
    hour = models.PositiveSmallIntegerField(help_text="Of the day, UTC: 0 to 23.")
    purpose = models.CharField(max_length=10)
    model = models.CharField(max_length=200)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("month", "hour", "purpose", "model", "outcome"), name="usage_month_hour"),
        )

    def __str__(self) -> str:
        return f"{self.model} for {self.purpose} at {self.hour:02}:00 in {self.month:%Y-%m}"


class UserDay(ModelSums):
    """One user and one day. `user_id` is no foreign key: what was spent was spent, whoever is deleted later."""

    day = models.DateField()
    user_id = models.PositiveBigIntegerField(help_text="0 when the user was deleted before the call was counted.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("user_id", "day", "model", "outcome", "error_code"), name="user_day"),
        )
        indexes = (models.Index(fields=("day",), name="user_days_by_day"),)

    def __str__(self) -> str:
        return f"user {self.user_id}, {self.model} on {self.day}"


class UserMonth(ModelSums):
    """One user and one month, so that a year of many users is read from few rows."""

    month = models.DateField(help_text="Its first day.")
    user_id = models.PositiveBigIntegerField(help_text="0 when the user was deleted before the call was counted.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("month", "user_id", "model", "outcome", "error_code"), name="user_month"),
        )

    def __str__(self) -> str:
        return f"user {self.user_id}, {self.model} in {self.month:%Y-%m}"


class UserTotal(Sums):
    """One user and one month, whatever the model: a fifth of the rows of `UserMonth`, for the table of all users."""

    month = models.DateField(help_text="Its first day.")
    user_id = models.PositiveBigIntegerField(help_text="0 when the user was deleted before the call was counted.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("month", "user_id", "outcome"), name="user_total"),)

    def __str__(self) -> str:
        return f"user {self.user_id} in {self.month:%Y-%m}"


class Measure(models.IntegerChoices):
    """Which of a call's two times a histogram counts."""

    FIRST_TOKEN = 1, "first token"
    TOTAL = 2, "whole answer"


class Times(models.Model):
    """A histogram of milliseconds: how many calls fell into a bucket of `chat.accounting.histogram.find_bucket`."""

    model = models.CharField(max_length=200)
    outcome = models.CharField(max_length=11)
    measure = models.PositiveSmallIntegerField(choices=Measure.choices)
    bucket = models.PositiveSmallIntegerField()
    calls = models.PositiveBigIntegerField()

    class Meta:
        abstract = True


class TimesDay(Times):
    """The histograms of one day, UTC."""

    day = models.DateField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("day", "model", "outcome", "measure", "bucket"), name="times_day"),
        )

    def __str__(self) -> str:
        return f"{self.model} on {self.day}: {self.get_measure_display()}, bucket {self.bucket}"


class TimesMonth(Times):
    """The histograms of one month."""

    month = models.DateField(help_text="Its first day.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("month", "model", "outcome", "measure", "bucket"), name="times_month"),
        )

    def __str__(self) -> str:
        return f"{self.model} in {self.month:%Y-%m}: {self.get_measure_display()}, bucket {self.bucket}"


class OutcomeHour(models.Model):
    """The outcomes of the calls to one model that began in one hour."""

    hour = models.DateTimeField(help_text="When it began, UTC.")
    model = models.CharField(max_length=200)
    cause = models.CharField(
        max_length=15, blank=True, help_text="The cause of their failure; empty where they did not fail."
    )
    calls = models.PositiveBigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("hour", "model", "cause"), name="outcome_hour"),)

    def __str__(self) -> str:
        return f"{self.model} at {self.hour:%Y-%m-%d %H}:00"


SUM_TABLES: tuple[type[models.Model], ...] = (
    UsageDay,
    UsageHour,
    UsageMonth,
    UsageMonthHour,
    UserDay,
    UserMonth,
    UserTotal,
    OutcomeHour,
    TimesDay,
    TimesMonth,
)
"""All that the ledger's rows are added up in."""


class Pruning(models.Model):
    """One removal of old ledger rows: before this day only the sums are left."""

    before = models.DateField(help_text="The first day, UTC, whose rows were kept.")
    rows = models.PositiveBigIntegerField(default=0)
    began_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-before",)

    def __str__(self) -> str:
        return f"{self.rows} rows before {self.before}"
