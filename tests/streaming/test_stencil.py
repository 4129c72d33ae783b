"""A stencil fills in what its template would render, whatever stands in its places and whatever it says."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.streaming.own_turn import Attempts
from chat.streaming.stencil import Stencil

ID, OTHER = UUID(int=1), UUID(int=2)
TEXTS = st.text(st.sampled_from("{}<>&\"'%ab \n0") | st.characters(exclude_categories=["Cs"]), max_size=30)
SAYINGS = st.sampled_from(["{id}", "{text}", "{0}", "{{ id }}", "}", "<b>", "%s", str(ID)]) | TEXTS
QUESTION = Stencil("chat/_question.html", "id", "text", "conversation", "time")
FOOT = Stencil("chat/_own_answer_foot.html", "id", "retry_turn", "time", "facts")
ATTEMPTS = Attempts(1, 1, None, None)


def render(template: str, **values: object) -> str:
    return render_to_string(template, values).strip()


@settings(deadline=None)
@given(id_=st.uuids(), text=SAYINGS, is_long=st.booleans())
def test_what_stands_in_a_place_is_escaped_and_read_no_further(id_: UUID, text: str, *, is_long: bool) -> None:
    places = {"id": id_, "text": text, "conversation": OTHER, "time": "now"}
    said = {"is_long": is_long, "wordings": ATTEMPTS}
    assert QUESTION.fill(places, **said) == render("chat/_question.html", **places, **said)


@settings(deadline=None)
@given(message=SAYINGS, facts=SAYINGS, model=SAYINGS)
def test_what_it_says_may_look_like_a_place(message: str, facts: str, model: str) -> None:
    places = {"id": ID, "retry_turn": OTHER, "time": "now", "facts": facts}
    said = {"status": "interrupted", "error_message": message, "wanted_model": model}
    assert FOOT.fill(places, **said) == render("chat/_own_answer_foot.html", **places, **said)


@pytest.mark.parametrize(
    "said",
    [
        {"status": "complete", "has_text": True},
        {"status": "complete", "has_text": True, "rating": "up"},
        {"status": "complete", "has_text": True, "rating": "down", "has_comment": True},
        {"status": "stopped", "kept_chars": 1, "has_text": True, "is_continuable": True},
        {"status": "stopped", "kept_chars": 12_345, "has_text": True},
        {"status": "complete", "interruptions": 1, "losses": 1},
        {"status": "complete", "interruptions": 2, "omitted": 3},
        {"status": "complete", "finish_reason": "length", "attempts": Attempts(2, 3, OTHER, ID)},
        {"status": "complete", "finish_reason": "length", "attempts": Attempts(1, 2, None, ID)},
        {"status": "interrupted", "is_retry_first": True},
    ],
    ids=str,
)
def test_each_foot_is_filled_in_time_and_again(said: dict[str, object]) -> None:
    for id_ in (ID, OTHER, ID):
        places = {"id": id_, "retry_turn": id_, "time": mark_safe("<time>now</time>"), "facts": f"{id_} & 1"}
        assert FOOT.fill(places, **said) == render("chat/_own_answer_foot.html", **places, **said)


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        QUESTION.fill({"id": ID}, is_long=False, wordings=ATTEMPTS)
