"""The part of a response that comes again when it is taken up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from chat.core.errors import ChatError
from chat.core.events import (
    Bookmark,
    Finish,
    Lasting,
    ProviderEvent,
    Reasoning,
    TextEvent,
    Token,
    ToolArguments,
    ToolCall,
    count_positions,
    get_text,
    replace_text,
)
from chat.core.failures import Cause

_SAID = Token | Reasoning | ToolCall | ToolArguments
"""The events that a provider sends. The runner adds the rest: results of tools, how long the model thought."""


class Repetition:
    """Drops from the beginning of what a provider says what was `received` of it, in pieces cut anywhere.

    What differs from that is no repetition but another answer, which raises `ChatError("upstream_error")`: the text
    that readers have would not be the provider's own.
    """

    def __init__(self, received: Iterable[Lasting]) -> None:
        self._received = deque(event for event in received if isinstance(event, _SAID) and count_positions(event))

    def drop(self, batch: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """Return what is new in a batch."""
        return [new for event in batch for new in self._drop(event)]

    def _drop(self, event: ProviderEvent) -> Iterator[ProviderEvent]:
        if isinstance(event, TextEvent):
            yield from self._drop_text(event)
        elif self._received and isinstance(event, ToolCall):
            if self._received[0] != event:
                raise _refuse_difference()
            self._received.popleft()
        elif self._received and isinstance(event, Finish):
            raise _refuse_difference()
        elif not (self._received and isinstance(event, Bookmark)):  # a bookmark tells that all before it was given
            yield event

    def _drop_text(self, event: TextEvent) -> Iterator[ProviderEvent]:
        text = get_text(event)
        if not self._received or not text:
            yield event
            return
        while self._received and text:
            known = self._received[0]
            if not isinstance(known, TextEvent) or replace_text(known, text) != replace_text(event, text):
                raise _refuse_difference()
            repeated = get_text(known)
            size = min(len(repeated), len(text))
            if repeated[:size] != text[:size]:
                raise _refuse_difference()
            text = text[size:]
            if size == len(repeated):
                self._received.popleft()
            else:
                self._received[0] = replace_text(known, repeated[size:])
        if text:
            yield replace_text(event, text)


def _refuse_difference() -> ChatError:
    detail = "the response that was taken up does not begin with what had come of it"
    return ChatError("upstream_error", detail, may_pass=False, is_accepted=True, cause=Cause.BAD_ANSWER)
