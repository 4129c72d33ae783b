"""Meters: the counters behind every limit. One statement admits a call and reserves for it, and one settles it.

Both are an INSERT … ON CONFLICT DO UPDATE of all the meters that a call draws on. `reserve` changes only those that
have room: the rows that it returns are the verdict, and a transaction without all of them is undone. Rows are taken in
the order of their keys, so that two transactions cannot wait for each other, and as the last rows of their transaction:
by then it has locked its other rows, those of a turn or of an answer's end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import CharField, Count, Q, QuerySet
from django.utils import timezone

from chat.models import LIVE, Meter, MeterKey, Outcome, ProviderCall
from chat.models.compiled import Select, Update

log = logging.getLogger(__name__)

# How long a call may run after the end of the window that it counts for: twice the maximum of CHAT_TOTAL_TIMEOUT.
LONGEST_HOLD = timedelta(days=3)

# Time after which what a new meter has counted is counted once more. Calls that end as it is made may be missing
# from it: their process does not know of it (for the 5 s of its cache), or their transaction does not see its row yet,
# as the meter's does not see theirs. Within that time both have passed.
COUNT_AGAIN_AFTER = timedelta(seconds=30)

# Meters that are counted once more by one sweep, each with a query of the ledger's rows of its window. Each user's
# first call of a day makes one or two.
COUNTED_AGAIN_AT_ONCE = 100

# Time for which other processes leave a meter to the one that counts it.
CLAIMED_FOR = timedelta(minutes=1)

# Time after which a meter is tried again that could not be counted: each time is a line in the log.
PAUSE_AFTER_FAILURE = timedelta(minutes=10)


class Draw(NamedTuple):
    """The share of one call in one meter: `used` for good, and `held` until it is settled. `most` is the limit.

    A new meter begins with the ledger's figures and the draw; with `is_seeded`, with the draw alone.
    """

    key: str
    begins: datetime
    until: datetime
    most: int
    used: int = 0
    held: int = 0
    is_hard: bool = True
    is_seeded: bool = False


class Level(NamedTuple):
    """The amounts of a meter that are used and held."""

    used: int
    held: int
    until: datetime


class SettledMeter(NamedTuple):
    """A meter after a settlement."""

    key: str
    used: int
    most: int | None
    told: int


CountBefore = Callable[[Sequence[Draw]], Sequence[tuple[int, int]]]
"""The ledger's figures for meters that are new: used and held, without the call that draws on them now."""

_COLUMNS = ("key", "begins", "until", "used", "held", "most", "is_hard", "is_seeded", "told")

# A draw on a window that has ended starts it again from 0. Only the window of requests is reused: its key has no time.
_USED = "(CASE WHEN chat_meter.until <= excluded.begins THEN 0 ELSE chat_meter.used END + excluded.used)"


@lru_cache(maxsize=32)
def _reserve_sql(rows: int) -> str:
    row = f"({', '.join(['%s'] * len(_COLUMNS))})"
    return (
        f"INSERT INTO chat_meter ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * rows)} "  # noqa: S608 - our own names
        f"ON CONFLICT (key) DO UPDATE SET used = {_USED}, held = chat_meter.held + excluded.held, "
        "begins = CASE WHEN chat_meter.until <= excluded.begins THEN excluded.begins ELSE chat_meter.begins END, "
        "until = CASE WHEN chat_meter.until <= excluded.begins THEN excluded.until ELSE chat_meter.until END, "
        "most = excluded.most, is_hard = excluded.is_hard "
        f"WHERE NOT excluded.is_hard OR {_USED} + chat_meter.held + excluded.held <= excluded.most "
        "RETURNING key, used, held, is_seeded"
    )


def reserve(draws: Iterable[Draw], count_before: CountBefore) -> list[Draw]:
    """Draw on all of these meters, and return those that have no room: then the caller undoes its transaction.

    Each draw by itself has to fit into its limit: a meter that does not exist yet takes any draw, and is compared with
    the limit after the ledger's earlier usage has been added.
    """
    ordered = sorted(draws)
    if not ordered:
        return []
    values: list[Any] = []
    for draw in ordered:
        begins, until = map(connection.ops.adapt_datetimefield_value, (draw.begins, draw.until))
        values += (draw.key, begins, until, draw.used, draw.held, draw.most, draw.is_hard, draw.is_seeded, 0)
    with connection.cursor() as cursor:
        cursor.execute(_reserve_sql(len(ordered)), values)
        taken = {key: row for key, *row in cursor.fetchall()}
    new = [draw for draw in ordered if draw.key in taken and not taken[draw.key][-1]]
    return [draw for draw in ordered if draw.key not in taken] + (_seed(new, taken, count_before) if new else [])


_write_seed = Update(
    Meter, ("used", "held", "is_seeded", "count_again_at"), lambda pk: Meter.objects.filter(pk=pk), CharField()
)


def _seed(new: Sequence[Draw], taken: Mapping[str, Sequence[Any]], count_before: CountBefore) -> list[Draw]:
    """Add the ledger's earlier usage to meters that have just been made; return the draws that do not fit any more."""
    seeded = []
    for draw, (more_used, more_held) in zip(new, count_before(new), strict=True):
        used, held, _ = taken[draw.key]
        seeded.append((used + more_used, held + more_held, True, compute_count_again(draw.key), draw.key))
    _write_seed.execute_many(seeded)
    levels = zip(new, seeded, strict=True)
    return [draw for draw, (used, held, *_) in levels if draw.is_hard and used + held > draw.most]


def is_any_new() -> bool:
    """Return whether a meter is to be counted once more now."""
    return _select_new().exists()


def list_new_meters() -> list[Meter]:
    """Return meters that are to be counted once more now, at most `COUNTED_AGAIN_AT_ONCE`, the oldest first."""
    return list(_select_new().order_by("count_again_at")[:COUNTED_AGAIN_AT_ONCE])


def _select_new() -> QuerySet[Meter]:
    now = timezone.now()
    return Meter.objects.filter(count_again_at__lte=now, until__gt=now)


def compute_count_again(key: str) -> datetime | None:
    """Return when a meter that is counted now is to be counted once more; None for one that no ledger's rows fill."""
    return timezone.now() + COUNT_AGAIN_AFTER if MeterKey.parse(key).measure in ("tokens", "cost") else None


def claim_count(meter: Meter) -> bool:
    """Note that this process counts a meter once more; return False when another one does."""
    return _set_count_again(meter, timezone.now() + CLAIMED_FOR)


def note_count(meter: Meter, *, failed: bool = False) -> None:
    """Note that a meter was counted once more, or that it is to be later because that `failed`.

    One that was made anew meanwhile is counted again.
    """
    _set_count_again(meter, timezone.now() + PAUSE_AFTER_FAILURE if failed else None)


def _set_count_again(meter: Meter, at: datetime | None) -> bool:
    """Set when a meter is counted once more, unless that has been set anew since the meter was read."""
    is_ours = Meter.objects.filter(pk=meter.pk, count_again_at=meter.count_again_at).update(count_again_at=at) > 0
    meter.count_again_at = at
    return is_ours


@lru_cache(maxsize=32)
def _settle_sql(rows: int) -> str:
    columns = ", ".join(_COLUMNS)
    kept = columns.replace("used, held", "given.column2, given.column3")
    kept = ", ".join(name if name.startswith("given.") else f"meter.{name}" for name in kept.split(", "))
    return (
        f"INSERT INTO chat_meter ({columns}) SELECT {kept} FROM (VALUES {', '.join(['(%s, %s, %s)'] * rows)}) AS given "  # noqa: S608
        "JOIN chat_meter AS meter ON meter.key = given.column1 WHERE true ORDER BY meter.key "
        "ON CONFLICT (key) DO UPDATE SET used = chat_meter.used + excluded.used, "
        "held = chat_meter.held + excluded.held RETURNING key, used, most, told"
    )


def settle(changes: Mapping[str, tuple[int, int]]) -> list[SettledMeter]:
    """Add the changes to what is used and held of these meters, and return the meters; one that is gone stays gone."""
    if not changes:
        return []
    values = [value for key in sorted(changes) for value in (key, *changes[key])]
    with connection.cursor() as cursor:
        cursor.execute(_settle_sql(len(changes)), values)
        return [SettledMeter(*row) for row in cursor.fetchall()]


@lru_cache(maxsize=32)
def _prepare_read(keys: int) -> Select[Meter]:
    """Return the statement that reads this many meters: each end of an answer on a page does."""
    return Select(Meter, lambda *keys: Meter.objects.filter(key__in=keys), *[CharField()] * keys)


def read_levels(keys: Iterable[str]) -> dict[str, Level]:
    """Return how far these meters are used and held, those that exist."""
    wanted = list(keys)
    rows = _prepare_read(len(wanted))(*wanted) if wanted else []
    return {row.key: Level(row.used, row.held, row.until) for row in rows}


def is_any_open() -> bool:
    """Return whether any window of tokens or money has a meter now; the answer may be some seconds old."""
    return cache.get_or_set("chat.open_meters", _find_open) or False


def _find_open() -> bool:
    of_amounts = Q(key__contains="/tokens/") | Q(key__contains="/cost/")
    return Meter.objects.filter(of_amounts, until__gt=timezone.now()).exists()


def make_live_key(user_id: int) -> str:
    """Return the key of the meter of a user's live answers."""
    return str(MeterKey("user", user_id, "live", "now"))


def recount() -> int:
    """Correct meters that hold more or less than the calls under way need; return how many there were.

    A call that is settled gives back what it held. This finds what was never settled: an answer whose process and row
    are both gone. A meter's row is the lock under which its calls are admitted, so that what is read under it is exact.
    """
    young = Meter.objects.filter(until__gt=timezone.now() - LONGEST_HOLD)
    kept = dict(young.exclude(held=0).values_list("key", "held"))
    found = _count_held([*kept]) if kept else Counter[str]()
    corrected = 0
    for key in sorted(key for key, held in kept.items() if found[key] != held):
        with transaction.atomic():
            meter = Meter.objects.select_for_update().filter(pk=key).first()
            if meter is None or meter.held == (held := _count_held([key])[key]):
                continue
            log.warning("meter %s: %d was held, and calls under way hold %d", key, meter.held, held)
            Meter.objects.filter(pk=key).update(held=held)
            corrected += 1
    return corrected


def _count_held(keys: Sequence[str]) -> Counter[str]:
    """Return what calls under way and live answers hold of these meters."""
    held: Counter[str] = Counter()
    running = ProviderCall.objects.filter(outcome=Outcome.RUNNING, holds__isnull=False)
    for holds in running.values_list("holds", flat=True):
        for key, amount in holds or ():
            held[key] += amount
    for key in keys:
        of = MeterKey.parse(key)
        if (of.scope, of.measure) == ("user", "live"):
            held[key] = count_live_answers(of.owner)
    return held


def count_live_answers(user_id: int) -> int:
    """Return how many of a user's answers are live, without those that the site bears.

    Each has a call that began not long ago, so that a user with 100,000 calls is asked about a few of them.
    """
    calls = ProviderCall.objects.filter(user=user_id, started_at__gt=timezone.now() - LONGEST_HOLD)
    calls = calls.filter(billed_to=ProviderCall.BilledTo.USER, purpose=ProviderCall.Purpose.ANSWER)
    calls = calls.filter(answer__status__in=LIVE)
    return calls.aggregate(answers=Count("answer", distinct=True))["answers"]  # type: ignore[no-any-return]
