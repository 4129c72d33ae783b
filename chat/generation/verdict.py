"""Verdicts: how answers and their calls end."""

from __future__ import annotations

from typing import NamedTuple

from chat.core.errors import CODES
from chat.core.events import Done, Error, Terminal
from chat.models import STOPPED, Status


class Verdict(NamedTuple):
    """The end of an answer, or of one call."""

    status: Status
    reason: str = ""  # the finish reason of a complete answer, otherwise an error code or nothing

    @property
    def error_code(self) -> str:
        return self.reason if self.status == Status.INTERRUPTED else ""

    @property
    def finish_reason(self) -> str:
        return self.reason if self.status == Status.COMPLETE else ""

    @property
    def terminal(self) -> Terminal:
        if self.status == Status.INTERRUPTED:
            code = CODES[self.reason]
            return Error(self.reason, code.message, code.retryable)
        return STOPPED if self.status == Status.STOPPED else Done("complete", self.reason)


STOPPED_BY_USER = Verdict(Status.STOPPED)

# The verdict on an upstream call after which the answer continues.
STEP = Verdict(Status.COMPLETE, "tool_calls")


def make_interruption(code: str) -> Verdict:
    """Return the verdict of an answer that is interrupted with an error code."""
    return Verdict(Status.INTERRUPTED, code)
