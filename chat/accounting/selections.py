"""Selections: which calls of the ledger a report is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import Max, Min, Q, QuerySet
from django.utils import timezone

from chat.accounting.providers import match_model, split_provider
from chat.accounting.rollups import find_midnight
from chat.models import Outcome, ProviderCall, UsageDay, User


@dataclass(frozen=True, slots=True)
class Selection:
    """The calls of a report: those begun from `start` to `end`, both included, that match whatever else is set.

    Both days are such as `bound_day` returns.
    """

    start: date
    end: date
    user: int | None = None
    group: int | None = None
    model: str = ""
    provider: str = ""
    outcome: str = ""

    @property
    def is_personal(self) -> bool:
        return self.user is not None or self.group is not None

    @property
    def sum_conditions(self) -> Q:
        """The conditions on model, provider and outcome, which every table of sums has."""
        chosen = Q()
        if self.model:
            chosen &= Q(model=self.model)
        if self.provider:
            chosen &= match_model(self.provider)
        if self.outcome:
            chosen &= Q(outcome=self.outcome)
        return chosen

    @property
    def user_conditions(self) -> Q:
        """The conditions on user and group, which only tables with users have."""
        chosen = Q()
        if self.user is not None:
            chosen &= Q(user_id=self.user)
        if self.group is not None:
            chosen &= Q(user_id__in=User.objects.filter(groups=self.group).values("pk"))
        return chosen

    def select_calls(self, upto: datetime | None = None) -> QuerySet[ProviderCall]:
        """Select the settled rows themselves, newest first; with `upto`, none that began later."""
        until = find_midnight(self.end + timedelta(days=1))
        # Only one upper bound: of two, SQLite would use the later one and step over all the rows between them.
        ends = Q(started_at__lte=upto) if upto and upto < until else Q(started_at__lt=until)
        rows = ProviderCall.objects.filter(
            self.user_conditions, ends, started_at__gte=find_midnight(self.start)
        ).exclude(left_out=True)
        if self.model or self.provider:
            names = [self.model] if self.model else list_models()
            # Named one by one, they are found by their index.
            rows = rows.filter(model__in=[name for name in names if self.provider in ("", split_provider(name))])
        rows = rows.filter(outcome=self.outcome) if self.outcome else rows.exclude(outcome=Outcome.RUNNING)
        return rows.order_by("-started_at", "-pk")


@dataclass(frozen=True, slots=True)
class CallSelection(Selection):
    """A selection of single calls, also by what only the ledger's rows know."""

    purpose: str = ""
    error_code: str = ""
    conversation: UUID | None = None

    def select_calls(self, upto: datetime | None = None) -> QuerySet[ProviderCall]:
        rows = Selection.select_calls(self, upto)
        if self.purpose:
            rows = rows.filter(purpose=self.purpose)
        if self.error_code:
            rows = rows.filter(error_code=self.error_code)
        return rows.filter(answer__conversation=self.conversation) if self.conversation else rows


def list_models() -> list[str]:
    """Return every model that the ledger has ever counted."""
    return list(UsageDay.objects.order_by("model").values_list("model", flat=True).distinct())


def find_counted_days() -> tuple[date, date] | None:
    """Return the first and the last day with a call, or None."""
    days = UsageDay.objects.aggregate(first=Min("day"), last=Max("day"))
    return (days["first"], days["last"]) if days["first"] else None


def clip_period(selection: Selection) -> Selection:
    """Cut the empty ends off a selection's period, so that a month that has just begun counts as a whole one."""
    counted = find_counted_days()
    first, last = counted or (selection.start, selection.start)
    today = timezone.now().date()
    start, end = max(selection.start, first), min(selection.end, max(last, today))
    return replace(selection, start=start, end=end)
