"""The limits that hold for a user. Read at most every few seconds; a question asks memory alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import models
from django.db.models import Min, Q

from chat.models import COST_UNIT, Limit, User
from chat.models.compiled import Select
from chat.site_facts import SiteFact

# The fields of `Limit`, and the site's defaults for them.
FIGURES = {
    "requests_per_minute": "CHAT_USER_REQUESTS_PER_MINUTE",
    "live_answers": "CHAT_USER_STREAMS",
    "tokens_per_day": "CHAT_USER_TOKENS_PER_DAY",
    "cost_per_month": "CHAT_USER_COST_PER_MONTH",
}


# The most that a meter's columns hold: 92 billion dollars. The column of a limit takes ten times as much.
LARGEST_AMOUNT = 2**63 - 1


class Limits(NamedTuple):
    """The limits of one user; None is no limit."""

    requests_per_minute: int | None
    live_answers: int | None
    tokens_per_day: int | None
    cost_per_month: Decimal | None  # US dollars

    @property
    def cost_units(self) -> int | None:
        """`cost_per_month` as a meter has it: in units of `COST_UNIT`, at most what its columns hold."""
        return None if self.cost_per_month is None else min(int(self.cost_per_month / COST_UNIT), LARGEST_AMOUNT)


class _LimitRow(NamedTuple):
    """A row of `Limit`; None is inherited."""

    requests_per_minute: int | None
    live_answers: int | None
    tokens_per_day: int | None
    cost_per_month: Decimal | None


class _SharedLimits(NamedTuple):
    """The limits of groups, and whether any user has one of their own: the same for all users."""

    of_groups: dict[int, _LimitRow]
    is_any_own: bool

    def merge(self, own: _LimitRow | tuple[()], groups: Iterable[int]) -> Limits:
        """Return the limits of a user with this row of their own, if any, who is in these groups."""
        of_groups = [self.of_groups[group] for group in groups if group in self.of_groups]
        return Limits(*(_choose_figure(name, [own] if own else [], of_groups) for name in FIGURES))


_groups = Select(Group, lambda user: Group.objects.filter(user=user).only("pk").order_by(), models.IntegerField())
_own = Select(Limit, lambda user: Limit.objects.filter(user=user), models.IntegerField())


def find_groups(user_id: int) -> frozenset[int]:
    """Return the ids of a user's groups, as they were some seconds ago at most."""
    found: frozenset[int] = cache.get_or_set(f"chat.groups.{user_id}", partial(_read_groups, user_id)) or frozenset()
    return found


def _read_groups(user_id: int) -> frozenset[int]:
    return frozenset(_groups.list_keys(user_id))


def find_limits(user_id: int) -> Limits:
    """Return a user's limits.

    Each figure is their own if they have one, otherwise the most generous of their groups', otherwise the site's
    default.
    """
    shared = _shared.get()
    own = shared.is_any_own and cache.get_or_set(f"chat.own_limit.{user_id}", partial(_read_own, user_id))
    return shared.merge(own or (), find_groups(user_id) if shared.of_groups else ())


def load_limits(users: Collection[int]) -> dict[int, Limits]:
    """Return the limits of many users, as the database has them now."""
    shared = _read_shared()
    own = {row.user_id: _read_row(row) for row in Limit.objects.filter(user__in=users)}
    groups: dict[int, list[int]] = defaultdict(list)
    of_users = User.groups.through._default_manager.filter(user__in=users, group__in=shared.of_groups)
    for user, group in of_users.values_list("user", "group"):
        groups[user].append(group)
    return {user: shared.merge(own.get(user, ()), groups.get(user, ())) for user in users}


def find_lowest_limits() -> Limits:
    """Return for each figure the lowest that any user may have; None where nobody has a limit."""
    lowest = Limit.objects.aggregate(**{name: Min(name, filter=Q(**{f"{name}__gt": 0})) for name in FIGURES})
    given = ([figure for figure in (lowest[name], getattr(settings, FIGURES[name])) if figure] for name in FIGURES)
    return Limits(*(min(figures, default=None) for figures in given))


def _read_shared() -> _SharedLimits:
    of_groups = {row.group_id: _read_row(row) for row in Limit.objects.filter(group__isnull=False)}
    return _SharedLimits(of_groups, Limit.objects.filter(user__isnull=False).exists())  # type: ignore[arg-type]


_shared = SiteFact("shared_limits", _read_shared)


def _read_own(user_id: int) -> _LimitRow | tuple[()]:
    """Return a user's own figures; where there are none, something that a cache keeps."""
    row = _own.get_first(user_id)
    return _read_row(row) if row else ()


def _read_row(row: Limit) -> _LimitRow:
    return _LimitRow(*(getattr(row, name) for name in FIGURES))


def _choose_figure(name: str, *ranks: list[_LimitRow]) -> Any:
    """Return the most generous figure of the first rank that has one. A 0 there means that there is no limit."""
    for rank in ranks:
        if given := [figure for row in rank if (figure := getattr(row, name)) is not None]:
            return max(given) if all(given) else None
    return getattr(settings, FIGURES[name]) or None
