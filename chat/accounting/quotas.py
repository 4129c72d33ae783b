"""Quotas: a user's limits, of which each upstream call reserves a part before it is made and settles it afterwards.

A call claims something of each limit that it counts for. One statement takes all of the claims or refuses the call
(`chat.accounting.meters`), so that of many requests at once, in any process, exactly those are admitted that the limits
have room for. Where there is no limit nothing is kept but the ledger; a limit that comes later begins with what the
ledger has.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import (
    BigIntegerField,
    Count,
    DateTimeField,
    F,
    Func,
    IntegerField,
    Q,
    QuerySet,
    Subquery,
)
from django.template.defaultfilters import pluralize
from django.utils import timezone

from chat.accounting import alerts, ledger, meters
from chat.accounting.budgets import BudgetTerms, find_budgets, make_terms, match_calls
from chat.accounting.formatting import write_amount
from chat.accounting.meters import Draw, Level, count_live_answers, make_live_key
from chat.accounting.periods import Window, find_window, write_moment
from chat.accounting.policies import Limits, find_limits
from chat.core.errors import RefusedError
from chat.core.events import Usage
from chat.leases import compute_lease_end
from chat.models import COST_UNIT, Budget, Meter, MeterKey, Period, ProviderCall, User
from chat.models.compiled import Insert, Select
from chat.observability.outages import FAULTS, UnreachableError, classify_outage

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)

# The window of live answers: each counts for as long as it lasts.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

# The Retry-After, in seconds, of a call that was refused because of the user's own answers under way: nobody knows when
# they will end.
WHILE_BUSY = 5

# Added to the longest time of a call: within it the call's end is written, or the loss of its owner is noticed.
SETTLING = timedelta(minutes=1)


class QuotaError(RefusedError):
    """The refusal of a call by one of its user's limits; the sentence says which one, and when it ends."""

    status, code = 429, "quota_exceeded"

    def __init__(self, sentence: str, retry_after: int | None) -> None:
        super().__init__(sentence)
        self.sentence, self.retry_after = sentence, retry_after


class BudgetError(QuotaError):
    """The refusal of a call by a budget, as its terms were known; they name what to ask instead, if anything.

    With `is_used_up`, what is left until its window ends is too little for the call; otherwise the call exceeds the
    whole budget, or has to wait for answers under way.
    """

    def __init__(
        self, sentence: str, retry_after: int | None, terms: BudgetTerms, key: str, *, is_used_up: bool = False
    ) -> None:
        super().__init__(sentence, retry_after)
        self.terms, self.key, self.is_used_up = terms, key, is_used_up


class Quota(NamedTuple):
    """One limit and how far it is used, in tokens, US dollars, or a count."""

    limit: Decimal | None
    used: Decimal
    reserved: Decimal = Decimal(0)  # for calls that are under way
    resets_at: datetime | None = None


class Standing(NamedTuple):
    """A user's quotas."""

    requests: Quota
    live_answers: Quota
    tokens: Quota
    cost: Quota


class Claim(NamedTuple):
    """The claim of a call on one limit. `least` is what its input alone needs, without an estimate of its output."""

    draw: Draw
    measure: str
    least: int
    window: str = ""
    """The name of the limit's window in a sentence: "today's"."""
    each: str = ""
    """The length of that window in a sentence: "a day"."""
    budget: BudgetTerms | None = None

    def write(self, amount: int) -> str:
        """Write an amount of what is measured."""
        return write_amount(self.measure, amount)


# Its beginning is the moment whose windows it draws on: another one, a moment later, may be behind midnight.
_insert = Insert(ProviderCall, given=("started_at",))


def admit(call: ProviderCall, *, is_request: bool = True) -> ProviderCall:
    """Put an upstream call on the ledger before it is made, or raise `QuotaError` and leave nothing.

    So a crash leaves a row to settle. `call` is new and has the estimate of its input. `is_request` is for the first
    call of an answer, that a user asked for; further calls count for tokens and cost only. A call without a user,
    or one that the site pays for, is not limited.
    """
    now = timezone.now()
    call.lease_until, call.started_at = compute_lease_end(), now
    claims = _make_claims(call, now, is_request=is_request)
    call.holds = [(claim.draw.key, claim.draw.held) for claim in claims if claim.measure in _OF_CALLS] or None
    call.has_place = any(claim.measure == "live" for claim in claims)
    try:
        with transaction.atomic(savepoint=False):
            _insert(call)
            if claims:
                _reserve(claims, now)
    except BudgetError as error:
        if not connection.in_atomic_block:  # otherwise the caller, whose transaction is undone, tells of it
            note_refusal(error)
        raise
    return call


def note_refusal(error: BudgetError) -> None:
    """Write the alerts of a budget that is used up, outside of the transaction that its refusal undoes."""
    if error.is_used_up:
        alerts.note_exhaustion(error.key, error.terms)


# The measures of which a call holds an amount until it is settled. A live answer is counted until the answer ends.
_OF_CALLS = {"tokens", "cost"}


def _make_claims(call: ProviderCall, now: datetime, *, is_request: bool) -> list[Claim]:
    """Return what the call claims of its user's limits. Raises `QuotaError` for one that can never fit."""
    user = None if call.billed_to == ProviderCall.BilledTo.SITE else call.user_id
    need = _Need(call)
    return [
        *([] if user is None else _claim_for_user(user, need, now, is_request=is_request)),
        *_claim_of_budgets(user, need, now),
    ]


class _Need:
    """What a call needs of a limit, by the limit's measure: for its input, and by an estimate for its output."""

    def __init__(self, call: ProviderCall) -> None:
        self.call = call

    @cached_property
    def tokens(self) -> tuple[int, int]:
        return self.call.input_tokens, settings.CHAT_RESERVE_OUTPUT

    @cached_property
    def cost(self) -> tuple[int, int]:
        """The cost in units of `COST_UNIT`; a model without a price costs nothing here."""
        return self._estimate(Usage(self.call.input_tokens, 0)), self._estimate(Usage(0, settings.CHAT_RESERVE_OUTPUT))

    def _estimate(self, usage: Usage) -> int:
        return int((ledger.find_call_price(self.call, usage) or Decimal(0)) / COST_UNIT)


def _claim_of_budgets(user: int | None, need: _Need, now: datetime) -> list[Claim]:
    """Return what the call claims of budgets, the hard ones first: they say what to do instead."""
    claims = []
    for terms in find_budgets(user, need.call.model):
        for key, measure, most, window in terms.find_amounts(now):
            draw = Draw(key, window.begins, window.until, most, is_hard=terms.is_hard)
            claims.append(_hold(Claim(draw, measure, 0, f"the budget {terms.name}:", f"a {terms.period}", terms), need))
    return claims


def _make_requests_key(user_id: int) -> str:
    return str(MeterKey("user", user_id, "requests", "now"))


def _make_amount_key(user_id: int, measure: str, window: Window) -> str:
    return str(MeterKey("user", user_id, measure, window.name))


def _claim_for_user(user: int, need: _Need, now: datetime, *, is_request: bool) -> list[Claim]:
    limits = find_limits(user)
    claims = []
    if is_request and limits.requests_per_minute is not None:
        draw = Draw(_make_requests_key(user), now, now + MINUTE, limits.requests_per_minute, 1, 0, is_seeded=True)
        claims.append(Claim(draw, "requests", 1))
    if is_request and limits.live_answers is not None and need.call.answer_id is not None:
        claims.append(Claim(Draw(make_live_key(user), *ALWAYS, limits.live_answers, 0, 1), "live", 1))
    if limits.tokens_per_day is not None:
        window = find_window(Period.DAY, now)
        draw = Draw(_make_amount_key(user, "tokens", window), window.begins, window.until, limits.tokens_per_day)
        claims.append(_hold(Claim(draw, "tokens", 0, "today's", "a day"), need))
    if limits.cost_units is not None:
        window = find_window(Period.MONTH, now)
        draw = Draw(_make_amount_key(user, "cost", window), window.begins, window.until, limits.cost_units)
        claims.append(_hold(Claim(draw, "cost", 0, "this month's", "a month"), need))
    return claims


def _hold(claim: Claim, need: _Need) -> Claim:
    """Return the claim with the call's expected usage: its input, and an estimate of its output.

    An estimate that exceeds the limit by itself is cut to fit, because otherwise a small limit would admit no call at
    all. Raises `QuotaError` when the input exceeds the limit by itself.
    """
    least, estimate = need.tokens if claim.measure == "tokens" else need.cost
    draw = claim.draw
    if draw.is_hard and least > draw.most:
        if claim.budget is not None:
            raise BudgetError(
                f"This needs about {claim.write(least)}, and the budget {claim.budget.name} is "
                f"{claim.write(draw.most)} {claim.each}. Ask something shorter, or begin a new chat.",
                None,
                claim.budget,
                draw.key,
            )
        raise QuotaError(
            f"This needs about {claim.write(least)}, and your limit is {claim.write(draw.most)} {claim.each}. "
            "Ask something shorter, or begin a new chat.",
            None,
        )
    return claim._replace(draw=draw._replace(held=min(least + estimate, max(draw.most, least))), least=least)


def _reserve(claims: Sequence[Claim], now: datetime) -> None:
    """Take all of the claims, or raise `QuotaError` for the first that has no room."""
    # A claim of nothing always has room: a model without a price is not refused for a limit on cost.
    refused = meters.reserve([claim.draw for claim in claims if claim.draw.used or claim.draw.held], _count_before)
    if not refused:
        return
    levels = meters.read_levels(draw.key for draw in refused)
    for claim in claims:
        if claim.draw in refused:
            raise _make_refusal(claim, levels[claim.draw.key], now)


_user_calls = Select(
    ProviderCall,
    lambda user, since: ProviderCall.objects.only("pk").filter(
        user=user, billed_to=ProviderCall.BilledTo.USER, started_at__gte=since
    )[:2],
    IntegerField(),
    DateTimeField(),
)


def _count_before(draws: Sequence[Draw]) -> list[tuple[int, int]]:
    """Return the ledger's figures for new meters: for each the amount used, and the amount held by all other calls.

    A user with one call in these windows, this one, has used nothing: one query finds that out, where adding up takes
    0.7 ms a meter. It is each user's first question of a day.
    """
    begins: dict[int, datetime] = {}
    for draw in draws:
        if (key := MeterKey.parse(draw.key)).scope == "user":
            begins[key.owner] = min(draw.begins, begins.get(key.owner, draw.begins))
    newcomers = {owner for owner, since in begins.items() if len(_user_calls.list_keys(owner, since)) < 2}
    return [_count_for_meter(draw, newcomers) for draw in draws]


def _is_of_user(key: str, users: Collection[int]) -> bool:
    scope, owner, *_ = MeterKey.parse(key)
    return scope == "user" and owner in users


def _count_for_meter(draw: Draw, newcomers: Collection[int]) -> tuple[int, int]:
    """Return the usage for a new meter; `newcomers`, users without earlier calls, have none."""
    _, owner, measure, _ = MeterKey.parse(draw.key)
    if _is_of_user(draw.key, newcomers):
        return 0, 0
    if measure == "live":
        return 0, max(0, count_live_answers(owner) - 1)
    return _add_up(_find_metered_calls(draw), measure), 0


def _find_metered_calls(meter: Draw | Meter) -> QuerySet[ProviderCall]:
    """Return the ended calls that a meter of tokens or money counts."""
    scope, owner, *_ = MeterKey.parse(meter.key)
    if scope == "budget":
        return ledger.find_ended_calls(meter.begins, meter.until).filter(match_calls(owner))
    return _find_ended_calls(meter.begins, meter.until, owner)


def _find_ended_calls(begins: datetime, until: datetime, user_id: int) -> QuerySet[ProviderCall]:
    """Return the calls of a user in a window that have ended, without those that the site bears."""
    return ledger.find_ended_calls(begins, until).filter(user=user_id, billed_to=ProviderCall.BilledTo.USER)


def _add_up(calls: QuerySet[ProviderCall], measure: str) -> int:
    """Return the tokens of these calls, or their cost in units of `COST_UNIT`."""
    # There is no row where nothing can match, as for a budget that is gone: Django asks no database then.
    return _read_sum(next((row["sum"] for row in _select_sum(calls, measure)), None), measure)


def _select_sum(calls: QuerySet[ProviderCall], measure: str) -> QuerySet[ProviderCall, Any]:
    """Return the statement for the sum of these calls, to be read with `_read_sum`; it may be a part of another one."""
    return calls.order_by().values(sum=_SUMS[measure])


# As functions of one row each: Django's own Sum groups by the key, where it is a part of another statement.
_SUMS = {
    "tokens": Func(F("input_tokens") + F("output_tokens"), function="SUM", output_field=BigIntegerField()),
    "cost": Func(F("cost"), function="SUM", output_field=ProviderCall._meta.get_field("cost")),
}


def _read_sum(kept: int | Decimal | None, measure: str) -> int:
    return int((Decimal(kept or 0) / (COST_UNIT if measure == "cost" else 1)).to_integral_value())


def settle(calls: Iterable[ProviderCall], counted_user_id: int | None = None) -> None:
    """Replace the reservations of calls by their figures, in the transaction that settles their rows.

    `counted_user_id` is the user towards whose limit on live answers an answer counted that has ended. A call counts
    for the window in which it began, as it does on the ledger, and for limits that it has drawn nothing of: one that
    was set while the call ran, and one that is switched off, whose meter has to be right when it is switched on again.
    """
    changes: dict[str, tuple[int, int]] = {}
    is_any_open = meters.is_any_open()  # a site without limits settles nothing
    for call in calls:
        figures = {"tokens": call.input_tokens + call.output_tokens, "cost": int((call.cost or 0) / COST_UNIT)}
        holds = dict(call.holds or ())
        for key in {*holds, *(_list_meters(call) if is_any_open else ())}:
            used, held = changes.get(key, (0, 0))
            changes[key] = used + figures[MeterKey.parse(key).measure], held - holds.get(key, 0)
    if counted_user_id is not None:
        changes[make_live_key(counted_user_id)] = 0, -1
    alerts.note_levels(meters.settle(changes))


def _list_meters(call: ProviderCall) -> set[str]:
    """Return the keys of the meters that count a call, if they exist."""
    user = None if call.billed_to == ProviderCall.BilledTo.SITE else call.user_id
    budgets = find_budgets(user, call.model)
    keys = {amount.key for terms in budgets for amount in terms.find_amounts(call.started_at)}
    if user is not None:
        for measure, period in (("tokens", Period.DAY), ("cost", Period.MONTH)):
            keys.add(_make_amount_key(user, measure, find_window(period, call.started_at)))
    return keys


def find_counted_user_id(call: ProviderCall) -> int | None:
    """Return the user towards whose limit on live answers this call's answer counts; None where there is no limit."""
    if call.billed_to == ProviderCall.BilledTo.SITE or call.user_id is None:
        return None
    return call.user_id if find_limits(call.user_id).live_answers is not None else None


def lock_meters(call: ProviderCall, model: str) -> None:
    """Lock the meters that a call holds something of, and those that a call of another model in its place needs.

    They are locked in the order of their keys, before the one call is settled and the other admitted in the same
    transaction: otherwise two such exchanges in opposite directions would wait for each other's meters.
    """
    user = None if call.billed_to == ProviderCall.BilledTo.SITE else call.user_id
    budgets, now = find_budgets(user, model), timezone.now()
    needed = {amount.key for terms in budgets for amount in terms.find_amounts(now)}
    for key in sorted(needed | {key for key, _ in call.holds or ()}):
        Meter.objects.select_for_update().filter(pk=key).first()


def compute_longest_call() -> timedelta:
    """Return how long a row can be running: it may wait for a slot for as long as it may take."""
    return 2 * timedelta(seconds=settings.CHAT_TOTAL_TIMEOUT) + SETTLING


# Refusals


def _make_refusal(claim: Claim, level: Level, now: datetime) -> QuotaError:
    if claim.measure == "requests":
        seconds = max(1, ceil((level.until - now).total_seconds()))
        used = claim.write(claim.draw.most)
        return QuotaError(
            f"You have used this minute's {used}. You can continue in {seconds} second{pluralize(seconds)}.", seconds
        )
    if claim.measure == "live":
        many = claim.draw.most
        writing = "One of your answers is" if many == 1 else f"{many:,} of your answers are"
        return QuotaError(
            f"{writing} still being written, and you may have no more at once. Wait for one of them, or stop it.",
            WHILE_BUSY,
        )
    return _refuse_amount(claim, level, now)


def _refuse_amount(claim: Claim, level: Level, now: datetime) -> QuotaError:
    """Return the refusal of a call for which too little is left."""
    if claim.budget is not None:
        return _refuse_by_budget(claim, claim.budget, level, now)
    most, need = claim.draw.most, claim.draw.held
    whole, wait = claim.write(most), ceil((level.until - now).total_seconds())
    then = f"You can continue {write_moment(level.until, now)}."
    if level.used >= most:
        return QuotaError(f"You have used {claim.window} {whole}. {then}", wait)
    if level.used + need <= most:
        return QuotaError(
            f"Your answers under way may take the rest of {claim.window} {whole}. Wait for one of them to end.",
            WHILE_BUSY,
        )
    left = claim.write(most - level.used)
    return QuotaError(
        f"You have {left} left of {claim.window} {whole}, and this needs about {claim.write(need)}. {then}", wait
    )


def _refuse_by_budget(claim: Claim, terms: BudgetTerms, level: Level, now: datetime) -> BudgetError:
    """Return the refusal of a call by a budget: how much of it is left, and until when."""
    most, need = claim.draw.most, claim.draw.held
    whole = f"the budget {terms.name} ({claim.write(most)} {claim.each})"
    wait = ceil((level.until - now).total_seconds())
    then = f"You can continue {write_moment(level.until, now)}."
    left = claim.write(max(0, most - level.used))
    is_used_up = True
    if level.used >= most:
        sentence = f"{whole[0].upper()}{whole[1:]} is used up. {then}"
    elif level.used + need <= most:
        sentence = f"Answers under way may take the rest of {whole}. Wait for one of them to end."
        wait, is_used_up = WHILE_BUSY, False
    else:
        sentence = f"{left} is left of {whole}, and this needs about {claim.write(need)}. {then}"
    return BudgetError(sentence, wait, terms, claim.draw.key, is_used_up=is_used_up)


# What is shown


def find_standing(user: User) -> Standing:
    """Return the quotas that the user's next question would be measured by."""
    now, limits = timezone.now(), find_limits(user.pk)
    key = _make_requests_key(user.pk)
    minute = meters.read_levels([key]).get(key)
    if minute is None or minute.until <= now:
        minute = Level(0, 0, now + MINUTE)
    live = Decimal(count_live_answers(user.pk))
    return Standing(
        Quota(_convert_to_decimal(limits.requests_per_minute), Decimal(minute.used), resets_at=minute.until),
        Quota(_convert_to_decimal(limits.live_answers), live),
        *_measure_amounts(user.pk, limits, now),
    )


class MonthsCalls(NamedTuple):
    """A user's ended calls of the month that their limit on cost is for."""

    priced: int
    unpriced: int


def count_months_calls(user_id: int) -> MonthsCalls:
    """Return how many calls of a user's month had a price, and how many had none."""
    window = find_window(Period.MONTH, timezone.now())
    calls = _find_ended_calls(window.begins, window.until, user_id)
    return MonthsCalls(**calls.aggregate(priced=Count("cost"), unpriced=Count("pk", filter=Q(cost=None))))


def find_amounts(user_id: int) -> list[tuple[str, Quota]]:
    """Return a user's quotas of tokens and of cost, those that have a limit, with what each measures."""
    limits = find_limits(user_id)
    if limits.tokens_per_day is None and limits.cost_per_month is None:
        return []
    quotas = zip(("tokens", "cost"), _measure_amounts(user_id, limits, timezone.now(), only_limited=True), strict=True)
    return [(measure, quota) for measure, quota in quotas if quota.limit is not None]


def _measure_amounts(user_id: int, limits: Limits, now: datetime, *, only_limited: bool = False) -> list[Quota]:
    """Return how far tokens and cost are used; what no meter counts, by the ledger."""
    wanted = (
        ("tokens", find_window(Period.DAY, now), _convert_to_decimal(limits.tokens_per_day), Decimal(1)),
        ("cost", find_window(Period.MONTH, now), limits.cost_per_month, COST_UNIT),
    )
    levels = meters.read_levels(_make_amount_key(user_id, measure, window) for measure, window, _, _ in wanted)
    quotas = []
    for measure, window, limit, unit in wanted:
        level = levels.get(_make_amount_key(user_id, measure, window)) if limit is not None else None
        if level is None and (limit is not None or not only_limited):
            used = _add_up(_find_ended_calls(window.begins, window.until, user_id), measure)
            level = Level(used, 0, window.until)
        used, held = (level.used, level.held) if level is not None else (0, 0)
        quotas.append(Quota(limit, used * unit, held * unit, window.until))
    return quotas


def open_meters(budget: Budget, anew: Collection[str] = ()) -> None:
    """Start the meters of a budget from the ledger's usage, so that it is shown before the next call.

    Those that exist get its present amounts. Those of the measures `anew` are counted again as well: they have counted
    other calls than the budget is for now, or not all of them. What calls under way hold of them stays.
    """
    for key, measure, most, window in sorted(make_terms(budget).find_amounts(timezone.now())):  # locked in this order
        draw = Draw(key, window.begins, window.until, most)
        with transaction.atomic():
            # An existing row is locked: a settlement waits, and adds its call to what is counted here.
            row = {"begins": draw.begins, "until": draw.until, "most": most, "is_hard": budget.is_hard}
            meter, is_new = Meter.objects.select_for_update().get_or_create(key=key, defaults=row)
            if is_new or measure in anew:
                [(meter.used, _)] = _count_before([draw])
                meter.is_seeded, meter.count_again_at = True, meters.compute_count_again(key)
            meter.most, meter.is_hard = most, budget.is_hard
            alerts.withdraw_alerts(meter)
            meter.save(update_fields=["used", "most", "is_hard", "is_seeded", "count_again_at", "told"])


def recount_new_meters() -> int:
    """Count the ledger's usage once more for some meters that were new a moment ago; return how many it corrects.

    Raises `DatabaseError` while the database is away: that is no fault of a meter's.
    """
    corrected = 0
    for new in meters.list_new_meters():
        if not meters.claim_count(new):
            continue
        try:
            corrected += _recount_usage(new)
        except FAULTS as error:
            if isinstance(classify_outage(error), UnreachableError):
                raise
            log.warning("meter %s: its calls could not be counted once more: %s", new.key, error)
            meters.note_count(new, failed=True)
        else:
            meters.note_count(new)
    return corrected


def _recount_usage(meter: Meter) -> bool:
    """Correct what is used of a meter by the ledger; return whether it was wrong.

    Only then is its row locked, because calls of a month can take seconds to add up, and its admissions would wait.
    """
    if not _find_missing(meter):
        return False
    with transaction.atomic():
        locked = Meter.objects.select_for_update().filter(pk=meter.pk).first()
        return (
            locked is not None and Meter.objects.filter(pk=meter.pk).update(used=F("used") + _find_missing(locked)) > 0
        )


def _find_missing(meter: Meter) -> int:
    """Return how much more the ledger has of a meter's window than the meter; 0 for a budget that is gone.

    One statement reads both, so that it sees each call that is settled meanwhile in both of them, or in neither.
    """
    key = MeterKey.parse(meter.key)
    if key.scope == "budget" and not Budget.objects.filter(pk=key.owner).exists():
        return 0
    added = Subquery(_select_sum(_find_metered_calls(meter), key.measure))
    row = Meter.objects.filter(pk=meter.pk).values_list("used", added).first()
    return 0 if row is None else _read_sum(row[1], key.measure) - int(row[0])


def _convert_to_decimal(figure: int | None) -> Decimal | None:
    return None if figure is None else Decimal(figure)
