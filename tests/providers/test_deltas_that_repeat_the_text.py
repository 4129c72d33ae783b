"""Deltas that seem to repeat the whole text are held back, a few of them, until it is certain whether they do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.providers.growing_text import GrowingText

MOST_HELD = 16


def take_all(deltas: list[str]) -> list[str]:
    """Return what was shown with each delta, and last what was held back at the end."""
    text = GrowingText()
    return [*map(text.take, deltas), text.release()]


@given(st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=40))
def test_short_deltas_are_all_shown_in_their_order(deltas: list[str]) -> None:
    assert "".join(take_all(deltas)) == "".join(deltas)


@pytest.mark.parametrize("deltas", [["aaaa"] * 100, ["a" * count for count in range(1, 100)], ["哈哈"] * 100])
def test_a_text_that_only_looks_like_it_is_not_held_back_for_long(deltas: list[str]) -> None:
    shown = take_all(deltas)
    assert all(shown[MOST_HELD + 1 : -1])
    assert shown[-1] == ""


@given(st.text(min_size=40).filter(lambda text: len(set(text[:12])) > 6), st.integers(1, 12))
def test_a_text_that_grows_is_shown_once_and_as_it_comes(text: str, step: int) -> None:
    deltas = [text[:end] for end in range(step, len(text) + step, step)]
    shown = take_all(deltas)
    assert "".join(shown) == text
    assert shown[-1] == ""
