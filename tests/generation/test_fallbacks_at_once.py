"""Many answers fall back at once: each budget is held by exactly those calls that it had room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connections
from django.utils import timezone

from chat.accounting.quotas import QuotaError, admit
from chat.core.errors import ChatError
from chat.core.events import Usage
from chat.core.transcript import Transcript
from chat.generation.fallbacks import ask_instead
from chat.generation.store import AnswerSnapshot, CallResult
from chat.models import Budget, Conversation, Message, Meter, Outcome, ProviderCall, User

FIRST, SECOND = "openai:gpt-test", "anthropic:messages-test"
THREADS = 8

# Tokens that a call for the question holds: the question's ten, and the estimate of its output.
QUESTION = "x" * 40
ONE_CALL = 1_010
FAILED = ChatError("upstream_error", "503")


def ask(user: User, model: str) -> ProviderCall:
    """Make a live answer, and return its upstream call, which is still running."""
    conversation = Conversation.objects.create(user=user)
    question = Message.objects.create(conversation=conversation, role="user", text=QUESTION)
    answer = Message.objects.create(
        conversation=conversation,
        parent=question,
        role="assistant",
        status="queued",
        model=model,
        owner="me",
        fence=1,
        lease_until=timezone.now() + timedelta(minutes=5),
    )
    return admit(ProviderCall(user=user, answer=answer, model=model, input_tokens=10, start=0))


def fall_back(call: ProviderCall, model: str) -> bool:
    """Ask another model in the place of a failed call's; return whether that model's budget has room for it."""
    assert call.answer_id is not None
    snapshot = AnswerSnapshot.from_transcript(call.answer_id, 1, Transcript(), None)
    try:
        ask_instead(snapshot, CallResult(call, Usage(0, 0, estimated=True), None, 5), FAILED, model)
        return True
    except QuotaError:
        return False


def run_at_once(pieces: Sequence[Callable[[], bool]]) -> list[bool]:
    gate = Barrier(len(pieces))

    def run(piece: Callable[[], bool]) -> bool:
        gate.wait(30)
        try:
            return piece()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(pieces)) as threads:
        return list(threads.map(run, pieces))


def limit(model: str, tokens: int) -> Budget:
    return Budget.objects.create(name=f"For {model}", scope="site", model=model, tokens=tokens)


def read_held() -> dict[str, int]:
    """Return what is held of the budget of each model."""
    names = {f"budget/{budget.pk}": budget.model for budget in Budget.objects.all()}
    return {names["/".join(meter.key.split("/")[:2])]: meter.held for meter in Meter.objects.all()}


def list_running_models() -> list[str]:
    rows = ProviderCall.objects.filter(outcome=Outcome.RUNNING).order_by("model")
    return list(rows.values_list("model", flat=True))


@pytest.mark.parametrize("room", [0, 1, 3])
def test_simultaneous_fallbacks_are_admitted_as_far_as_the_budget_has_room(user: User, room: int) -> None:
    limit(FIRST, 1_000_000)
    limit(SECOND, max(1, room * ONE_CALL))
    calls = [ask(user, FIRST) for _ in range(THREADS)]
    taken = run_at_once([lambda call=call: fall_back(call, SECOND) for call in calls])  # type: ignore[misc]
    assert sum(taken) == room
    assert list_running_models() == sorted([SECOND] * room + [FIRST] * (THREADS - room))
    assert read_held() == {
        FIRST: (THREADS - room) * ONE_CALL,
        **({SECOND: room * ONE_CALL} if room else {}),
    }
    assert Message.objects.filter(model=SECOND, asked_model=FIRST).count() == room
    assert Message.objects.filter(model=FIRST, asked_model="").exclude(role="user").count() == THREADS - room


def test_fallbacks_between_two_models_in_both_directions_do_not_deadlock(user: User) -> None:
    limit(FIRST, 1_000_000)
    limit(SECOND, 1_000_000)
    calls = [(ask(user, FIRST), SECOND) for _ in range(THREADS)] + [(ask(user, SECOND), FIRST) for _ in range(THREADS)]
    taken = run_at_once([lambda call=call, model=model: fall_back(call, model) for call, model in calls])  # type: ignore[misc]
    assert all(taken)
    assert read_held() == {FIRST: THREADS * ONE_CALL, SECOND: THREADS * ONE_CALL}


def test_nobody_takes_the_room_between_the_two_calls(user: User) -> None:
    """A budget has room for the calls that hold it: all of them go on, and those that come meanwhile find none."""
    Budget.objects.create(name="All", scope="site", tokens=THREADS * ONE_CALL)
    calls = [ask(user, FIRST) for _ in range(THREADS)]

    def try_to_come_too() -> bool:
        try:
            ask(user, FIRST)
            return True
        except QuotaError:
            return False

    pieces = [lambda call=call: fall_back(call, SECOND) for call in calls]
    taken = run_at_once([*pieces, *[try_to_come_too] * THREADS])
    assert taken == [True] * THREADS + [False] * THREADS
    assert list_running_models() == [SECOND] * THREADS
