"""Calls whose process is gone: running rows of the ledger, of every purpose, that no process will settle."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from chat.accounting.quotas import compute_longest_call
from chat.generation.store import CallResult, count_milliseconds, settle_call
from chat.generation.verdict import make_interruption
from chat.leases import can_trust_leases, read_clock
from chat.models import LIVE, Outcome, ProviderCall

log = logging.getLogger(__name__)

# Rows that one sweep settles: after a crash there are as many as there were answers, and each is a transaction.
SETTLED_AT_ONCE = 200


def settle_lost_calls() -> Counter[str]:
    """Settle the running rows whose process is gone, and return how many there were, by purpose.

    Their figures are what the process last wrote. Of two that find the same row one settles it, and an owner that comes
    back in time keeps it.
    """
    if not can_trust_leases():
        return Counter()
    settled: Counter[str] = Counter()
    for pk in _find_lost(read_clock()).order_by("pk").values_list("pk", flat=True)[:SETTLED_AT_ONCE]:
        with transaction.atomic():
            now = read_clock()
            call = _find_lost(now).select_for_update(of=("self",), skip_locked=True).filter(pk=pk).first()
            if call is not None and settle_call(_make_last_result(call, now), make_interruption("server_lost")):
                settled[call.purpose] += 1
                log.warning("call %s (%s): its process was lost; it is settled with an estimate", pk, call.purpose)
    return settled


def _find_lost(now: datetime) -> QuerySet[ProviderCall]:
    """Return the rows that no process will settle.

    A row of a live answer is found only if the answer goes on without that call: its own lease holds, and the row's ran
    out more than a whole lease ago. Otherwise its owner settles it, or the sweep that seizes the answer: with estimates
    from the answer's text, unless the answer follows that call further. A row without a lease was written by an older
    version: it counts as lost once no call can take so long.
    """
    lease = timedelta(seconds=settings.CHAT_LEASE)
    is_expired = Q(lease_until__lt=now) | Q(lease_until=None, started_at__lt=now - compute_longest_call())
    has_no_live_answer = ~Q(purpose=ProviderCall.Purpose.ANSWER) | Q(answer=None) | ~Q(answer__status__in=LIVE)
    rows = ProviderCall.objects.filter(is_expired, outcome=Outcome.RUNNING)
    return rows.filter(has_no_live_answer | Q(lease_until__lt=now - lease, answer__lease_until__gte=now))


def _make_last_result(call: ProviderCall, now: datetime) -> CallResult:
    return CallResult(
        call, replace(call.usage, estimated=True), call.first_token_ms, count_milliseconds(call.started_at, now)
    )
