"""The states of a live answer, and which of them may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class AnswerState(Enum):
    """The present activity of an answer's task."""

    KEPT = "kept in the database; its task has not begun"
    WAITING = "waits for a slot"
    CALLING = "reads an upstream call, or opens its first one"
    BETWEEN_CALLS = "waits for another try, or opens the next call"
    RUNNING_TOOLS = "runs the tools that the model has called"
    ENDING = "writes its end"
    ENDED = "has ended, and its readers know"


_S = AnswerState

TRANSITIONS: Mapping[AnswerState, frozenset[AnswerState]] = {
    _S.KEPT: frozenset({_S.WAITING, _S.ENDING}),
    _S.WAITING: frozenset({_S.CALLING, _S.ENDING}),
    _S.CALLING: frozenset({_S.BETWEEN_CALLS, _S.RUNNING_TOOLS, _S.ENDING}),
    _S.BETWEEN_CALLS: frozenset({_S.CALLING, _S.ENDING}),
    _S.RUNNING_TOOLS: frozenset({_S.CALLING, _S.ENDING}),
    _S.ENDING: frozenset({_S.ENDED}),
    _S.ENDED: frozenset(),
}
"""Every state may be cut off, which leads to ENDING; from there an answer only ends."""


class TransitionError(RuntimeError):
    """A live answer was to go where it may not go from its state."""

    def __init__(self, before: AnswerState, after: AnswerState) -> None:
        super().__init__(f"an answer that {before.value} cannot become one that {after.value}")
