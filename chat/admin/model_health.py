"""Model health: what the ledger says of each of the site's models, and a small call that tests one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone

from chat.accounting import quotas
from chat.accounting.failing_models import UPSTREAM
from chat.accounting.pricing import find_price
from chat.accounts.model_registry import is_retired, list_offered_models
from chat.core.tokens import estimate_tokens
from chat.generation.background_call import Request
from chat.generation.process import get_runner
from chat.models import Outcome, ProviderCall, User
from chat.providers.base import Prompt, Turn

QUESTION = "Reply with the word: ready"
MAX_TOKENS = 16
PATIENCE = 20.0


class Rate(NamedTuple):
    """Calls that ended in some time, and how many of them failed upstream."""

    calls: int
    errors: int

    @property
    def percent(self) -> float | None:
        """The share of failed calls in percent; None when there was no call."""
        return 100 * self.errors / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class Health:
    """A model's figures by the ledger."""

    model: str
    is_default: bool
    is_retired: bool
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
        """retired, unknown, well, ailing (some of the last hour's calls failed) or down (all of them)."""
        if self.is_retired:
            return "retired"
        if not self.hour.calls:
            return "unknown"
        if not self.hour.errors:
            return "well"
        return "down" if self.hour.errors == self.hour.calls else "ailing"


def list_health() -> list[Health]:
    """Return the health of each of CHAT_MODELS, in their order."""
    hour, day = _count_rates(timedelta(hours=1)), _count_rates(timedelta(days=1))
    none = Rate(0, 0)
    return [_find_health(model, hour.get(model, none), day.get(model, none)) for model in settings.CHAT_MODELS]


def _count_rates(age: timedelta) -> dict[str, Rate]:
    ended = ProviderCall.objects.filter(
        model__in=settings.CHAT_MODELS,
        outcome__in=(Outcome.COMPLETE, Outcome.STOPPED, Outcome.INTERRUPTED),
        started_at__gte=timezone.now() - age,
    )
    rows = ended.order_by().values_list("model").annotate(n=Count("pk"), bad=Count("pk", filter=_match_failed()))
    return {model: Rate(calls, errors) for model, calls, errors in rows}


def _match_failed() -> Q:
    return Q(outcome=Outcome.INTERRUPTED, error_code__in=UPSTREAM)


def _find_health(model: str, hour: Rate, day: Rate) -> Health:
    calls = ProviderCall.objects.filter(model=model).order_by("-started_at")
    success = calls.filter(outcome=Outcome.COMPLETE).values_list("started_at", flat=True).first()
    error = calls.filter(_match_failed()).values_list("started_at", "error_code").first()
    return Health(
        model=model,
        is_default=model == list_offered_models()[0],
        is_retired=is_retired(model),
        is_priced=find_price(model, settings.CHAT_PRICES) is not None,
        last_success=success,
        last_error=error[0] if error else None,
        last_code=error[1] if error else "",
        hour=hour,
        day=day,
    )


class TestResult(NamedTuple):
    """The result of a test call: the model's words, or the code of the error."""

    text: str
    code: str
    milliseconds: int


async def test_model(model: str, by: User) -> TestResult:
    """Make one small call to a model, on the ledger as the site's; it takes at most `PATIENCE` seconds."""
    prompt = Prompt(model.partition(":")[2], (Turn("user", QUESTION),), max_output_tokens=MAX_TOKENS, effort="none")
    request = Request(model, prompt, f"test of {model}", PATIENCE, is_streamed=True, code_if_cut="abandoned")
    ended = await get_runner().background.make(request, partial(open_call, by))
    return TestResult(ended.call.text.strip(), ended.verdict.error_code, ended.total_ms)


def open_call(by: User, model: str) -> ProviderCall:
    """Write the row of a test call on the ledger."""
    row = ProviderCall(
        purpose=ProviderCall.Purpose.TEST,
        billed_to=ProviderCall.BilledTo.SITE,
        requested_by=by,
        model=model,
        input_tokens=estimate_tokens(len(QUESTION)),
    )
    return quotas.admit(row)
