"""May this user start now? Limits, and what is reserved of them before each upstream call and settled after it.

The user's `Allowance` is locked from the verdict to the commit, so that of many requests at once, in any process,
exactly those get through that the limits have room for. On PostgreSQL its row is locked; on SQLite the whole database
is, because its transactions take the write lock when they begin (`SQLITE_OPTIONS`).

Lock it last: an answer's end holds its own rows when it comes here, and so does a turn.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import ceil
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Now
from django.template.defaultfilters import pluralize
from django.utils import timezone

from chat import ledger
from chat.errors import RefusedError
from chat.events import Usage
from chat.known import Known
from chat.models import LIVE, Allowance, Limit, Outcome, ProviderCall, Reservation, User
from chat.models.prepared import Insert
from chat.usage import dollars

MINUTE = timedelta(minutes=1)

# How soon a program may ask again when only its own answers under way are in the way: nobody knows when they end.
WHILE_BUSY = 5

# Beyond its longest time: for the end of a call to be written or its lost owner to be noticed.
SETTLING = timedelta(minutes=1)

# The fields of `Limit`, and the site's defaults for them.
FIGURES = {
    "requests_per_minute": "CHAT_USER_REQUESTS_PER_MINUTE",
    "live_answers": "CHAT_USER_STREAMS",
    "tokens_per_day": "CHAT_USER_TOKENS_PER_DAY",
    "cost_per_month": "CHAT_USER_COST_PER_MONTH",
}


class QuotaError(RefusedError):
    """A limit of the user does not allow this now; the sentence says which one, and when it ends."""

    status, code = 429, "quota_exceeded"

    def __init__(self, sentence: str, retry_after: int | None) -> None:
        super().__init__(sentence)
        self.sentence, self.retry_after = sentence, retry_after


class Limits(NamedTuple):
    """What one user may; None = no limit."""

    requests_per_minute: int | None
    live_answers: int | None
    tokens_per_day: int | None
    cost_per_month: Decimal | None  # US dollars


class Quota(NamedTuple):
    """How far one limit is used. Tokens, US dollars, or a count."""

    limit: Decimal | None
    used: Decimal
    reserved: Decimal = Decimal(0)  # for calls that are under way
    resets_at: datetime | None = None


class Standing(NamedTuple):
    """Where a user stands with each of their limits."""

    requests: Quota
    live_answers: Quota
    tokens: Quota
    cost: Quota


_has_limits = Known(Limit.objects.exists)


def _is_limited() -> bool:
    """Whether there is any limit at all. Where there is none, nothing is kept of what users use but the ledger. A limit
    that comes later begins with what the ledger has, or, for a user who was limited before, with the next day."""
    return any(getattr(settings, name) for name in FIGURES.values()) or _has_limits()


def limits_of(user_id: int) -> Limits:
    """A user's limits: each figure is their own if they have one, otherwise the most generous of their groups',
    otherwise the site's default."""
    groups = Group.objects.filter(user=user_id)
    rows = list(Limit.objects.filter(Q(user=user_id) | Q(group__in=groups)))
    own, shared = [row for row in rows if row.user_id], [row for row in rows if row.group_id]
    return Limits(*(_figure(name, own, shared) for name in FIGURES))


def _figure(name: str, *ranks: list[Limit]) -> Any:
    """The first rank that has the figure decides. 0 is written where there is to be no limit."""
    for rank in ranks:
        if given := [figure for row in rank if (figure := getattr(row, name)) is not None]:
            return max(given) if all(given) else None
    return getattr(settings, FIGURES[name]) or None


def standing_of(user: User) -> Standing:
    """What the user's next question would be measured by."""
    found = Allowance.objects.filter(user=user).annotate(now=Now()).first()
    allowance, now = (found, found.now) if found else (_first_allowance(user.pk), timezone.now())
    _go_on(allowance, now)
    return _standing(allowance, now)


_insert = Insert(ProviderCall)


def admit(call: ProviderCall, *, is_request: bool = True) -> ProviderCall:
    """Put an upstream call on the ledger before it is made, so that a crash leaves a row to settle; or raise
    `QuotaError`, and leave nothing.

    `call` is new and has the estimate of its input. `is_request` is for the first call of an answer, that a user asked
    for; further calls count for tokens and cost only. A call that is nobody's, or that the site pays, is not limited.
    """
    with transaction.atomic(savepoint=False):
        _insert(call)
        _reserve(call, is_request=is_request)
    return call


def _reserve(call: ProviderCall, *, is_request: bool) -> None:
    if call.user_id is None or call.billed_to == ProviderCall.BilledTo.SITE or not _is_limited():
        return
    allowance, now = _locked(call.user_id)
    _go_on(allowance, now)
    standing = _standing(allowance, now)
    if is_request:
        _admit_request(standing, now)
        allowance.requests += 1
    allowance.save()
    tokens = _admit(standing.tokens, Decimal(call.input_tokens), Decimal(settings.CHAT_RESERVE_OUTPUT), _TOKENS, now)
    least, output = _cost(call, call.input_tokens, 0), _cost(call, 0, settings.CHAT_RESERVE_OUTPUT)
    Reservation.objects.create(
        call=call,
        allowance=allowance,
        day=allowance.day,
        until=now + _longest_call(),
        tokens=int(tokens),
        cost=_admit(standing.cost, least, output, _COST, now),
    )


def settle(call: ProviderCall) -> None:
    """Put a call's figures in the place of what was reserved for it; nothing when that was done before. A call counts
    for the day and the month in which it began, as it does on the ledger."""
    if not _is_limited():
        return
    with transaction.atomic():
        reservation = Reservation.objects.filter(call=call).first()
        if reservation is None:
            return
        allowance, _ = _locked(reservation.allowance_id)
        if not Reservation.objects.filter(call=call).delete()[0]:
            return
        if reservation.day == allowance.day:
            allowance.tokens += call.input_tokens + call.output_tokens
        if _month(reservation.day) == _month(allowance.day):
            allowance.cost += call.cost or 0
        allowance.save()


# The allowance


def _locked(user_id: int) -> tuple[Allowance, datetime]:
    """The user's allowance, ours until the transaction ends, and the database's time: machines never agree on it."""
    allowances = Allowance.objects.filter(user=user_id).select_for_update().annotate(now=Now())
    found = allowances.first()
    if found is None:
        # Two who make it at once: the second one waits for the first, and then finds it.
        Allowance.objects.bulk_create([_first_allowance(user_id)], ignore_conflicts=True)
        found = allowances.get()
    return found, found.now


def _first_allowance(user_id: int) -> Allowance:
    """What the ledger has of the user already, for a site that is older than its limits."""
    now = timezone.now()
    today = now.astimezone(UTC).date()
    calls = ProviderCall.objects.filter(user=user_id, billed_to=ProviderCall.BilledTo.USER)
    calls = calls.exclude(outcome=Outcome.RUNNING)
    used = calls.filter(started_at__gte=_midnight(today)).aggregate(
        input=Sum("input_tokens", default=0), output=Sum("output_tokens", default=0)
    )
    spent = calls.filter(started_at__gte=_midnight(_month(today))).aggregate(cost=Sum("cost", default=Decimal(0)))
    return Allowance(user_id=user_id, minute=now, day=today, tokens=used["input"] + used["output"], cost=spent["cost"])


def _go_on(allowance: Allowance, now: datetime) -> None:
    """Begin the windows that have begun. Only forward: who waited for the lock over midnight is not to undo it."""
    today = now.astimezone(UTC).date()
    if now >= allowance.minute + MINUTE:
        allowance.minute, allowance.requests = now, 0
    if today > allowance.day:
        allowance.tokens = 0
        if _month(today) > _month(allowance.day):
            allowance.cost = Decimal(0)
        allowance.day = today


def _standing(allowance: Allowance, now: datetime) -> Standing:
    limits = limits_of(allowance.user_id)
    held = Reservation.objects.filter(allowance=allowance.user_id, until__gt=now, day__gte=_month(allowance.day))
    reserved = list(held.values_list("day", "tokens", "cost"))
    tokens = sum(tokens for day, tokens, _ in reserved if day == allowance.day)
    return Standing(
        Quota(_decimal(limits.requests_per_minute), Decimal(allowance.requests), resets_at=allowance.minute + MINUTE),
        Quota(_decimal(limits.live_answers), Decimal(_live_answers(allowance.user_id, now))),
        Quota(
            _decimal(limits.tokens_per_day),
            Decimal(allowance.tokens),
            Decimal(tokens),
            _midnight(allowance.day + timedelta(days=1)),
        ),
        Quota(
            limits.cost_per_month,
            allowance.cost,
            sum((cost for _, _, cost in reserved), Decimal(0)),
            _midnight(_month(_month(allowance.day) + timedelta(days=31))),
        ),
    )


def _live_answers(user_id: int, now: datetime) -> int:
    """By way of the ledger's newest rows: a user's answers are many, those whose last call is so young are few."""
    young = ProviderCall.objects.filter(user=user_id, started_at__gt=now - _longest_call())
    return young.filter(answer__status__in=LIVE).aggregate(answers=Count("answer", distinct=True))["answers"]  # type: ignore[no-any-return]


def _longest_call() -> timedelta:
    """It may wait for a place for as long as it may take."""
    return 2 * timedelta(seconds=settings.CHAT_TOTAL_TIMEOUT) + SETTLING


def _cost(call: ProviderCall, input_tokens: int, output_tokens: int) -> Decimal:
    """In US dollars; a model without a price costs nothing here."""
    return ledger.cost_of(call, Usage(input_tokens, output_tokens)) or Decimal(0)


# Verdicts


class _Words(NamedTuple):
    """How one budget is spoken of."""

    window: str  # whose: "today's"
    each: str
    noun: str = ""

    def amount(self, value: Decimal) -> str:
        return f"{int(value):,} {self.noun}{pluralize(value)}" if self.noun else dollars(value)


_TOKENS = _Words("today's", "a day", "token")
_COST = _Words("this month's", "a month")


def _admit_request(standing: Standing, now: datetime) -> None:
    """Whether one more request may begin, whose answer is among the live ones already."""
    requests, live = standing.requests, standing.live_answers
    if requests.limit is not None and requests.resets_at is not None and requests.used >= requests.limit:
        seconds = max(1, ceil((requests.resets_at - now).total_seconds()))
        used = f"{int(requests.limit):,} request{pluralize(requests.limit)}"
        raise QuotaError(
            f"You have used this minute's {used}. You can go on in {seconds} second{pluralize(seconds)}.", seconds
        )
    if live.limit is not None and live.used > live.limit:
        many = int(live.limit)
        writing = "One of your answers is" if many == 1 else f"{many:,} of your answers are"
        raise QuotaError(
            f"{writing} still being written, and you may have no more at once. Wait for one of them, or stop it.",
            WHILE_BUSY,
        )


def _admit(quota: Quota, least: Decimal, guess: Decimal, words: _Words, now: datetime) -> Decimal:
    """What to reserve for a call that is known to need `least`, and the `guess` for its output besides. Where the guess
    alone outgrows the limit it is cut to fit, or a small limit would let nothing through at all."""
    limit = quota.limit
    if limit is None or quota.resets_at is None:
        return least + guess
    need = min(least + guess, max(limit, least))
    if not need or quota.used + quota.reserved + need <= limit:
        return need
    whole, wait = words.amount(limit), ceil((quota.resets_at - now).total_seconds())
    then = f"You can go on {moment(quota.resets_at, now)}."
    if least > limit:
        raise QuotaError(
            f"This needs about {words.amount(least)}, and your limit is {whole} {words.each}. Ask something shorter, "
            "or begin a new chat.",
            None,
        )
    if quota.used >= limit:
        raise QuotaError(f"You have used {words.window} {whole}. {then}", wait)
    if quota.used + need <= limit:
        raise QuotaError(
            f"Your answers under way may take the rest of {words.window} {whole}. Wait for one of them to end.",
            WHILE_BUSY,
        )
    left = words.amount(limit - quota.used)
    raise QuotaError(
        f"You have {left} left of {words.window} {whole}, and this needs about {words.amount(need)}. {then}", wait
    )


def moment(then: datetime, now: datetime) -> str:
    """When a window ends: "at 00:00 UTC", with its day unless it is within the next 24 hours."""
    if then - now <= timedelta(days=1):
        return f"at {then:%H:%M} UTC"
    return f"on {then.day} {then:%B} at {then:%H:%M} UTC"


def _month(day: date) -> date:
    return day.replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _decimal(figure: int | None) -> Decimal | None:
    return None if figure is None else Decimal(figure)
