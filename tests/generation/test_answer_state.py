"""A live answer goes from state to state on the written ways alone, and ends once."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from chat.core.transcript import Transcript
from chat.generation.admission import Slot
from chat.generation.answer_state import TRANSITIONS, AnswerState, TransitionError
from chat.generation.live_answer import LiveAnswer
from chat.generation.verdict import STOPPED_BY_USER
from chat.providers.base import Prompt, Turn
from chat.tools.base import Context


def make_live_answer() -> LiveAnswer:
    prompt = Prompt("model", (Turn("user", "Hello"),))
    context = Context(1, str(uuid4()))
    return LiveAnswer(uuid4(), 1, "demo:tour", context, Transcript(), prompt, None, Slot(1), timezone.now(), None)


@pytest.mark.parametrize("state", [state for state in AnswerState if state != AnswerState.ENDED])
def test_every_state_leads_to_the_ended_state(state: AnswerState) -> None:
    reached = {state}
    for _ in AnswerState:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert AnswerState.ENDED in reached
    assert TRANSITIONS[AnswerState.ENDED] == frozenset()


@pytest.mark.parametrize("before", list(AnswerState))
@pytest.mark.parametrize("after", list(AnswerState))
async def test_a_transition_that_is_not_in_the_table_is_refused(before: AnswerState, after: AnswerState) -> None:
    live = make_live_answer()
    live.state = before
    if after in TRANSITIONS[before]:
        live.enter(after)
        assert live.state == after
    else:
        with pytest.raises(TransitionError, match="cannot become"):
            live.enter(after)
        assert live.state == before


async def test_an_answer_that_is_ending_is_not_cut_off_any_more() -> None:
    live = make_live_answer()
    live.enter(AnswerState.WAITING)
    live.end_call(AnswerState.ENDING)
    live.cut_off(STOPPED_BY_USER)
    assert live.cut is None
    live.end()
    assert live.ended.done()
    with pytest.raises(TransitionError):
        live.end()
