"""Refusals of what would begin, continue or change a turn."""

from __future__ import annotations

from chat.core.errors import COME_BACK_AFTER, RefusedError
from chat.models import Message


class BusyError(RefusedError):
    """Another answer of the conversation is still being written."""

    status, code = 409, "busy"
    sentence = "The last answer is still being written. Wait for it, or stop it first."

    def __init__(self, answer: str = "") -> None:
        super().__init__(self.code)
        self.answer = answer


class TurnTakenError(RefusedError):
    """The same turn was sent before, for another request."""

    status, code, field = 409, "turn_taken", "turn"
    sentence = "This `turn` was used before for another request. The answer that it started is named here."

    def __init__(self, answer: Message) -> None:
        super().__init__(self.code)
        self.answer = str(answer.pk)


class DrainingError(RefusedError):
    """This process is about to end."""

    status, code = 503, "draining"
    sentence = "The server is restarting. Try again in a moment."
    retry_after = COME_BACK_AFTER


class NotContinuableError(RefusedError):
    """The answer cannot be continued: it is complete or empty, or a later message follows it."""

    status, code = 409, "not_continuable"
    sentence = "This answer cannot be continued."


class NoSuchConversationError(RefusedError):
    """The conversation does not exist, or belongs to another user; the response does not say which."""

    status, code = 404, "not_found"
    sentence = "This conversation no longer exists."


class NoSuchQuestionError(RefusedError):
    """The message to edit is not a question of this conversation."""

    status, code = 404, "not_found"
    sentence = "The question that you edited no longer exists."
