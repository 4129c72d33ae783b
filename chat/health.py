"""How the models do: what the ledger says of each of the site's, and one small call to see for oneself."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone

from chat import quotas
from chat.answers import Verdict, interrupted, settle_call
from chat.background import in_thread
from chat.calls import Call
from chat.errors import ChatError
from chat.generation import runner
from chat.models import Outcome, ProviderCall, Status, User
from chat.providers import Prompt, Turn, UnknownProviderError
from chat.usage import estimate_tokens, price_of

log = logging.getLogger(__name__)

# What a provider is to blame for, or the site's key. Our own restarts and limits say nothing about a model.
UPSTREAM = ("rate_limited", "upstream_error", "timeout", "auth_failed", "bad_request")

QUESTION = "Reply with the word: ready"
MOST_TOKENS = 16
PATIENCE = 20.0


class Rate(NamedTuple):
    """Calls that ended in some time, and how many of them failed upstream."""

    calls: int
    errors: int

    @property
    def percent(self) -> float | None:
        """None when there was no call: nothing is known then, least of all that all is well."""
        return 100 * self.errors / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class Health:
    """What the ledger says of a model."""

    model: str
    is_default: bool
    is_priced: bool
    last_success: datetime | None
    last_error: datetime | None
    last_code: str
    hour: Rate
    day: Rate

    @property
    def rates(self) -> tuple[Rate, Rate]:
        return self.hour, self.day

    @property
    def state(self) -> str:
        """unknown, well, ailing (some of the last hour's calls failed) or down (all of them)."""
        if not self.hour.calls:
            return "unknown"
        if not self.hour.errors:
            return "well"
        return "down" if self.hour.errors == self.hour.calls else "ailing"


def catalogue() -> list[Health]:
    """The models of CHAT_MODELS, in that order."""
    hour, day = _rates(timedelta(hours=1)), _rates(timedelta(days=1))
    return [_health(model, hour.get(model, Rate(0, 0)), day.get(model, Rate(0, 0))) for model in settings.CHAT_MODELS]


def _rates(age: timedelta) -> dict[str, Rate]:
    ended = ProviderCall.objects.filter(
        model__in=settings.CHAT_MODELS,
        outcome__in=(Outcome.COMPLETE, Outcome.STOPPED, Outcome.INTERRUPTED),
        started_at__gte=timezone.now() - age,
    )
    rows = ended.order_by().values_list("model").annotate(n=Count("pk"), bad=Count("pk", filter=_failed()))
    return {model: Rate(calls, errors) for model, calls, errors in rows}


def _failed() -> Q:
    return Q(outcome=Outcome.INTERRUPTED, error_code__in=UPSTREAM)


def _health(model: str, hour: Rate, day: Rate) -> Health:
    calls = ProviderCall.objects.filter(model=model).order_by("-started_at")
    success = calls.filter(outcome=Outcome.COMPLETE).values_list("started_at", flat=True).first()
    error = calls.filter(_failed()).values_list("started_at", "error_code").first()
    return Health(
        model=model,
        is_default=model == settings.CHAT_MODELS[0],
        is_priced=price_of(model, settings.CHAT_PRICES) is not None,
        last_success=success,
        last_error=error[0] if error else None,
        last_code=error[1] if error else "",
        hour=hour,
        day=day,
    )


class Tested(NamedTuple):
    """What a test call gave: the model's words, or the code of what went wrong."""

    text: str
    code: str
    milliseconds: int


async def test(model: str, by: User) -> Tested:
    """Make one small call to a model, on the ledger as the site's; it takes at most `PATIENCE` seconds."""
    prompt = Prompt(model.partition(":")[2], (Turn("user", QUESTION),), max_output_tokens=MOST_TOKENS)
    row = ProviderCall(
        purpose=ProviderCall.Purpose.TEST,
        billed_to=ProviderCall.BilledTo.SITE,
        requested_by=by,
        model=model,
        input_tokens=estimate_tokens(prompt.size),
    )
    call = Call(await in_thread(quotas.admit, row), prompt)
    verdict = interrupted("server_restart")  # unless this is told otherwise
    try:
        verdict = await _verdict(model, call)
    finally:
        bill = call.bill
        await asyncio.shield(in_thread(settle_call, bill, verdict))
    return Tested(call.text.strip(), verdict.error_code, bill.total_ms)


async def _verdict(model: str, call: Call) -> Verdict:
    try:
        async with asyncio.timeout(PATIENCE):
            async with aclosing(runner().pool.get(model.partition(":")[0]).stream(call.prompt)) as batches:
                async for batch in batches:
                    call.take(batch)
    except UnknownProviderError:
        return interrupted("bad_request")
    except TimeoutError:
        return interrupted("timeout")
    except ChatError as error:
        log.warning("test of %s: %s", model, error)
        call.fail(error)
        return interrupted(error.code)
    except Exception:
        log.exception("test of %s: the provider adapter failed", model)
        return interrupted("upstream_error")
    if call.finish is None:
        return interrupted("upstream_error")
    return Verdict(Status.COMPLETE, call.finish.reason)
