"""Alerts: messages when a budget reaches a threshold, once in each of its windows."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from chat.accounting.budgets import BudgetTerms, make_terms
from chat.accounting.formatting import write_amount
from chat.accounting.meters import SettledMeter
from chat.accounting.periods import write_moment
from chat.models import Alert, Budget, Delivery, Meter, MeterKey, User

# In percent of a budget.
THRESHOLDS = (50, 80, 100)


def note_levels(settled: Iterable[SettledMeter]) -> None:
    """Write the alerts of budgets that have reached a threshold, in the transaction that brought them there."""
    for meter in settled:
        if meter.most is not None and MeterKey.parse(meter.key).scope == "budget":
            reached = [at for at in THRESHOLDS if meter.told < at and meter.used * 100 >= meter.most * at]
            if reached:
                _write_alerts(meter.key, reached)


def note_exhaustion(key: str, terms: BudgetTerms) -> None:
    """Write the alerts of a budget whose rest was too small for a call, so that it counts as used up.

    `terms` are those by which it was refused. A process knows them for some seconds longer than they hold, and a budget
    that was raised or switched off meanwhile is not used up.
    """
    with transaction.atomic():
        budget = Budget.objects.filter(pk=terms.pk).first()
        if budget is None or not budget.is_active or make_terms(budget) != terms:
            return
        told = Meter.objects.filter(pk=key, told__lt=THRESHOLDS[-1]).values_list("told", flat=True).first()
        if told is not None:
            _write_alerts(key, [at for at in THRESHOLDS if told < at])


def _write_alerts(key: str, thresholds: list[int]) -> None:
    """Write the alerts and their deliveries; the conditional UPDATE lets one of two processes do so."""
    budget = Budget.objects.filter(pk=MeterKey.parse(key).owner).first()
    if budget is None or not Meter.objects.filter(pk=key, told__lt=thresholds[-1]).update(told=thresholds[-1]):
        return
    meter = Meter.objects.get(pk=key)
    for threshold in thresholds:
        sentence = _write_sentence(budget, meter, threshold)
        alert = Alert.objects.create(
            budget=budget, meter=key, threshold=threshold, until=meter.until, sentence=sentence
        )
        Delivery.objects.bulk_create(
            Delivery(alert=alert, channel=channel, due_at=timezone.now()) for channel in _list_channels()
        )


def withdraw_alerts(meter: Meter) -> None:
    """Withdraw the alerts of thresholds that a budget is below again, since it was raised or counts other calls.

    Its users see them no more, and the thresholds are told of again when they are reached. The rows stay, under the
    meter's key with the time. The caller has locked the meter, and saves it.
    """
    reached = max((at for at in THRESHOLDS if meter.used * 100 >= (meter.most or 0) * at), default=0)
    if reached < meter.told:
        meter.told, now = reached, timezone.now()
        given = Alert.objects.filter(meter=meter.key, threshold__gt=reached)
        given.update(meter=f"{meter.key}@{now:%Y-%m-%dT%H:%M:%S.%f}", until=now)


def _list_channels() -> list[Delivery.Channel]:
    wanted = {
        Delivery.Channel.MAIL: settings.CHAT_ALERT_MAIL,
        Delivery.Channel.WEBHOOK: settings.CHAT_ALERT_WEBHOOK,
    }
    return [channel for channel, where in wanted.items() if where]


def _write_sentence(budget: Budget, meter: Meter, threshold: int) -> str:
    most, used = meter.most or 0, min(meter.used, meter.most or 0)
    whole, left = write_amount(meter.measure, most), write_amount(meter.measure, max(0, most - used))
    then = write_moment(meter.until, timezone.now())
    each = f"{whole} a {budget.period}"
    if threshold < THRESHOLDS[-1]:
        return f"{threshold} % of the budget {budget.name} ({each}) is used: {left} is left. It resets {then}."
    if budget.is_hard:
        return f"The budget {budget.name} ({each}) is used up. It resets {then}."
    return f"The budget {budget.name} ({each}) is used up; questions are still answered. It resets {then}."


def find_alerts(user: User) -> QuerySet[Alert]:
    """Return the alerts of a user's own and their groups' budgets that they have not dismissed, the newest first.

    A budget that is switched off has none.
    """
    theirs = Q(budget__user=user) | Q(budget__group__in=user.groups.all())
    return Alert.objects.filter(theirs, budget__is_active=True, until__gt=timezone.now()).exclude(dismissed_by=user)
