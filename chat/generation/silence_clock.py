"""The silence of an upstream call: how long it lasts, the notice to readers, and when it is too long."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.conf import settings

from chat.core.events import Notice, ProviderEvent, Reasoning, TextEvent, Token, ToolCall
from chat.providers.base import Prompt

# Seconds between two notices of how long a model has been thinking. A page counts the seconds between them itself.
TELL_THINKING_EVERY = 10.0


class SilenceClock:
    """Three clocks of one call, in seconds of `time.monotonic`.

    The first that runs out ends the call:

    - The connection is silent, nothing at all comes: `CHAT_FIRST_TOKEN_TIMEOUT` until the first sign of life, then
      `CHAT_IDLE_TIMEOUT`. A server that may send nothing while its model thinks has `CHAT_THINKING_TIMEOUT` for that.
    - The connection lives and the model thinks, or writes a tool's arguments, which some servers send whole:
      `CHAT_THINKING_TIMEOUT` since its last content.
    - The connection lives and the model was writing text, but the text does not continue: `CHAT_IDLE_TIMEOUT`.
    """

    __slots__ = (
        "_has_signs",
        "_is_writing",
        "_last_content",
        "_last_sign",
        "_may_send_nothing",
        "_not_writing_since",
        "_tell_at",
        "_thinks",
    )

    def __init__(self, prompt: Prompt) -> None:
        self._may_send_nothing = prompt.capabilities.silent_thinking or prompt.find_adaptation("no_stream") is not None
        self._thinks = prompt.capabilities.thinking != "none" or prompt.capabilities.silent_thinking
        self._has_signs = False
        self._is_writing = False  # text; otherwise the model thinks, or writes a tool's arguments
        self._last_sign = self._last_content = self._not_writing_since = time.monotonic()
        self._tell_at = self._last_content + settings.CHAT_IDLE_NOTICE

    def note_sign(self, batch: Sequence[ProviderEvent]) -> None:
        """Note a batch that says only that the connection lives, or that the model thinks."""
        self._last_sign = time.monotonic()
        self._has_signs = True
        if batch:
            self._note_kind(batch)

    def note_content(self, batch: Sequence[ProviderEvent]) -> None:
        """Note a batch that brought something of the answer."""
        self._last_sign = self._last_content = time.monotonic()
        self._tell_at = self._last_content + settings.CHAT_IDLE_NOTICE
        self._has_signs = True
        self._note_kind(batch)

    def _note_kind(self, batch: Sequence[ProviderEvent]) -> None:
        """Note what the model does after a batch, by the last piece of it that says so."""
        for event in reversed(batch):
            if isinstance(event, TextEvent | ToolCall):
                was_writing, self._is_writing = self._is_writing, isinstance(event, Token)
                if was_writing and not self._is_writing:
                    self._not_writing_since = self._last_sign
                self._thinks = self._thinks or isinstance(event, Reasoning)
                return

    @property
    def seconds_left(self) -> float:
        """Seconds until the first of the clocks runs out, if nothing comes."""
        return min(self._last_sign + self._longest_silence, self._last_content + self._longest_pause) - time.monotonic()

    @property
    def cause(self) -> str:
        """The clock that has run out, in words for the log."""
        if self._last_sign + self._longest_silence <= self._last_content + self._longest_pause:
            return f"nothing came for {self._longest_silence:g} s"
        return f"the {'text' if self._is_writing else 'model'} did not continue for {self._longest_pause:g} s"

    @property
    def _longest_silence(self) -> float:
        if self._may_send_nothing and not self._is_writing:
            longest: float = settings.CHAT_THINKING_TIMEOUT
            return longest
        limit: float = settings.CHAT_IDLE_TIMEOUT if self._has_signs else settings.CHAT_FIRST_TOKEN_TIMEOUT
        return limit

    @property
    def _longest_pause(self) -> float:
        limit: float = settings.CHAT_IDLE_TIMEOUT if self._is_writing else settings.CHAT_THINKING_TIMEOUT
        return limit

    def take_notice(self) -> Notice | None:
        """Return the notice to readers about the silence, if one is due.

        That the model thinks is repeated, with the seconds; that it is silent is said once.
        """
        now = time.monotonic()
        if now < self._tell_at:
            return None
        if self._thinks and not self._is_writing and (self._has_signs or self._may_send_nothing):
            self._tell_at = now + TELL_THINKING_EVERY
            return Notice("thinking", f"Thinking… {round(now - self._not_writing_since)} s")
        self._tell_at = float("inf")
        return Notice("stalled", f"The model has been silent for {round(now - self._last_content)} seconds.")
