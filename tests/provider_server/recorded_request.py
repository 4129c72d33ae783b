"""What a client asked, and how far it let the answer come."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.provider_server.script import Script

TIMELINE_STEP = 0.02
"""Seconds. An entry for each delta would be most of the memory that a long answer takes."""


@dataclass(eq=False)
class RecordedRequest:
    """One request. Moments are `time.monotonic`, which processes of one machine share."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: dict[str, Any]
    peer: tuple[str, int]
    """The client's address: requests of one TCP connection have the same."""
    script: Script
    started: float = field(default_factory=monotonic)
    sent_characters: int = 0
    sent_bytes: int = 0
    first_sent_at: float | None = None
    """When the first character of the text was sent."""
    timeline: list[tuple[float, int]] = field(default_factory=list)
    """How many characters were sent at which moment: an entry for each `TIMELINE_STEP` in which some were."""
    is_paused: bool = False
    """It stands at a gate, is held, or stalls; everything before that is sent."""
    releases: int = 0
    finished_at: float | None = None
    """When everything was sent that the script has to say, its faults included."""
    closed_at: float | None = None
    """When the client closed the connection before that, or before the HTTP body ended."""

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        for message in reversed(self._messages):
            if message.get("role") == "user" and not _is_result(message):
                return _join_text(message.get("content"))
        return ""

    @property
    def brings_results(self) -> bool:
        """Whether its last message is the result of a tool call."""
        return bool(self._messages) and _is_result(self._messages[-1])

    @property
    def _messages(self) -> list[dict[str, Any]]:
        """The conversation in the request, in any of the formats."""
        found = self.body.get("messages") or self.body.get("input") or []
        return [{"role": "user", "content": found}] if isinstance(found, str) else found

    def record_sent(self, characters: int) -> None:
        """Record that so many more characters were sent now."""
        now = monotonic()
        if self.first_sent_at is None:
            self.first_sent_at = now
        self.sent_characters += characters
        if not self.timeline or now - self.timeline[-1][0] >= TIMELINE_STEP:
            self.timeline.append((now, self.sent_characters))

    def count_sent_before(self, moment: float) -> int:
        """Return how many characters were sent before a moment, at least."""
        index = bisect_right(self.timeline, moment, key=lambda entry: entry[0])
        return self.timeline[index - 1][1] if index else 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.closed_at is not None or self.finished_at is not None

    def summarise(self) -> dict[str, Any]:
        """Return what clients in other processes can read of the request, as JSON."""
        names = ("method", "path", "body", "peer", "started", "first_sent_at", "sent_characters", "sent_bytes")
        return {name: getattr(self, name) for name in (*names, "is_paused", "finished_at", "closed_at")}


def _is_result(message: dict[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    is_output = message.get("type") == "function_call_output"
    return is_output or message.get("role") == "tool" or any(part.get("type") == "tool_result" for part in parts)


def _join_text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
