"""Budgets: which budgets a call counts for, and how much of them is used. Meters count them, as they count limits.

Every budget that a call counts for must have room: the site's, those of the groups that its user is in, and the user's
own.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Q
from django.utils import timezone

from chat.accounting import meters
from chat.accounting.periods import Window, find_window
from chat.accounting.policies import find_groups
from chat.accounting.providers import match_model, split_provider
from chat.models import COST_UNIT, Budget, MeterKey, ProviderCall, User
from chat.site_facts import SiteFact


class BudgetAmount(NamedTuple):
    """One amount of a budget in one of its windows: the meter that counts it, and the most that it may reach."""

    key: str
    measure: str
    most: int
    window: Window


class BudgetTerms(NamedTuple):
    """A budget as a question needs it; `cost_units` is in units of `COST_UNIT`."""

    pk: int
    name: str
    scope: str
    group: int | None
    user: int | None
    period: str
    tokens: int | None
    cost_units: int | None
    model: str
    is_hard: bool
    fallback_model: str

    def covers(self, user: int | None, groups: frozenset[int], model: str) -> bool:
        """Return whether a call of this user to a `provider:model` counts for the budget."""
        if self.model and self.model not in (model, split_provider(model)):
            return False
        if self.scope == Budget.Scope.SITE:
            return True
        return self.group in groups if self.group is not None else user is not None and self.user == user

    def find_amounts(self, at: datetime) -> list[BudgetAmount]:
        """Return the amounts that the budget limits, in the window that a moment lies in."""
        window = find_window(self.period, at)
        return [
            BudgetAmount(str(MeterKey("budget", self.pk, measure, window.name)), measure, most, window)
            for measure, most in (("tokens", self.tokens), ("cost", self.cost_units))
            if most is not None
        ]


def find_budgets(user: int | None, model: str) -> list[BudgetTerms]:
    """Return the budgets that a call counts for; without a user, those of the site alone."""
    known, groups = _find_known(user)
    return [terms for terms in known if terms.covers(user, groups, model)]


def _find_known(user: int | None) -> tuple[tuple[BudgetTerms, ...], frozenset[int]]:
    """Return all budgets, and the user's groups where any budget is a group's."""
    known = _active.get()
    has_groups = user is not None and any(terms.group is not None for terms in known)
    return known, find_groups(user) if user is not None and has_groups else frozenset[int]()


def _read_budgets() -> tuple[BudgetTerms, ...]:
    rows = Budget.objects.filter(is_active=True).order_by("-is_hard", "pk")
    return tuple(make_terms(row) for row in rows)


_active = SiteFact("budgets", _read_budgets)


def make_terms(row: Budget) -> BudgetTerms:
    """Return a row of the table as a question needs it."""
    cost = None if row.cost is None else int(row.cost / COST_UNIT)
    owner = row.scope, row.group_id, row.user_id
    return BudgetTerms(
        row.pk, row.name, *owner, row.period, row.tokens, cost, row.model, row.is_hard, row.fallback_model
    )


def match_calls(pk: int) -> Q:
    """Return the condition of the ledger's rows that count for a budget: a group's are those of its current users.

    None count for one that was deleted a moment ago, which this process may still know.
    """
    row = Budget.objects.filter(pk=pk).first()
    if row is None:
        return Q(pk__in=())
    found = match_model(row.model)
    if row.scope == Budget.Scope.SITE:
        return found
    users = Q(user=row.user_id) if row.group_id is None else Q(user__in=User.objects.filter(groups=row.group_id))
    return found & users & Q(billed_to=ProviderCall.BilledTo.USER)


class BudgetStanding(NamedTuple):
    """The use of one amount of a budget, in tokens or US dollars."""

    name: str
    measure: str
    period: str
    most: Decimal
    used: Decimal
    held: Decimal
    resets_at: datetime
    is_hard: bool
    is_shared: bool

    @property
    def left(self) -> Decimal:
        """The amount that the next question may use, in tokens or US dollars."""
        return max(Decimal(0), self.most - self.used - self.held)


def find_standings(user: int | None) -> list[BudgetStanding]:
    """Return how much of the user's budgets is used in the current windows, without the site's."""
    known, groups = _find_known(user)
    theirs = [terms for terms in known if terms.scope != Budget.Scope.SITE and terms.covers(user, groups, terms.model)]
    return measure_budgets(theirs)


def measure_budgets(budgets: list[BudgetTerms]) -> list[BudgetStanding]:
    """Return how much of the budgets is used in the current windows."""
    if not budgets:
        return []
    now = timezone.now()
    wanted = [(terms, amount) for terms in budgets for amount in terms.find_amounts(now)]
    levels = meters.read_levels(amount.key for _, amount in wanted)
    standings = []
    for terms, amount in wanted:
        level = levels.get(amount.key, meters.Level(0, 0, amount.window.until))
        unit = COST_UNIT if amount.measure == "cost" else Decimal(1)
        amounts = amount.most * unit, level.used * unit, level.held * unit
        ends = amount.window.until, terms.is_hard, terms.group is not None
        standings.append(BudgetStanding(terms.name, amount.measure, terms.period, *amounts, *ends))
    return standings
