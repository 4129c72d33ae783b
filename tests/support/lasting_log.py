"""A live log that outlives its process, as Redis does, in this process: for tests that end one and begin another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from chat.broker.base import ENDED
from chat.broker.memory import MemoryBroker
from chat.core.events import Event, Lasting, Notice, Terminal, TextEvent, Usage, count_positions, get_text, replace_text
from chat.core.transcript import Transcript
from tests.support.crash_seam import CrashSeam


class LastingLogs:
    """What has been published of all answers, by whichever process."""

    def __init__(self) -> None:
        self.current: dict[str, Transcript] = {}
        self.fences: defaultdict[str, int] = defaultdict(int)
        """By answer, that of the last owner that opened or seized its log."""
        self.seized: dict[str, Transcript] = {}
        self.shown: defaultdict[str, dict[int, Lasting]] = defaultdict(dict)
        """By answer, what readers have had at each position, a character at a time."""
        self.torn: list[str] = []
        """Positions that were published with something else before."""

    def note(self, answer: str, start: int, events: Sequence[Lasting]) -> None:
        """Note that readers have had these events, which begin at `start`."""
        shown = self.shown[answer]
        for position, event in split(start, events):
            if shown.setdefault(position, event) != event:
                self.torn.append(f"{position} was {shown[position]} and is {event}")


def split(start: int, events: Sequence[Lasting]) -> list[tuple[int, Lasting]]:
    """Return the events, each character of a text by itself, with their positions."""
    parts: list[tuple[int, Lasting]] = []
    for event in events:
        if isinstance(event, TextEvent):
            parts += [(start + index, replace_text(event, char)) for index, char in enumerate(get_text(event))]
        else:
            parts.append((start, event))
        start += count_positions(event)
    return parts


class LastingBroker(MemoryBroker):
    """The broker of one process; each of its steps goes through the seam."""

    def __init__(self, logs: LastingLogs, seam: CrashSeam, *, outlives: bool) -> None:
        super().__init__()
        self._logs, self._seam, self._outlives = logs, seam, outlives
        self._growing: dict[str, Transcript] = {}

    async def open(self, answer: str, fence: int, transcript: Transcript, joint: int | None = None) -> None:
        with self._seam.pass_step("open the log"):
            if fence >= self._logs.fences[answer]:
                self._logs.current[answer] = Transcript(transcript.position if joint is None else joint)
                self._logs.fences[answer] = fence
            self._growing[answer] = transcript
            await super().open(answer, fence, transcript, joint)

    async def publish(self, answer: str, fence: int) -> None:
        with self._seam.pass_step("publish"):
            self._write(answer, fence)
            await super().publish(answer, fence)

    async def notify(self, answer: str, fence: int, notice: Notice) -> None:
        with self._seam.pass_step(f"notify {notice.code}"):
            await super().notify(answer, fence, notice)

    async def close(self, answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        with self._seam.pass_step("publish the end"):
            self._write(answer, fence)
            await super().close(answer, fence, usage, terminal)

    async def give_up(self, answer: str, fence: int) -> None:
        with self._seam.pass_step("send readers to the database"):
            await super().give_up(answer, fence)

    async def seize(self, answer: str, fence: int, after: int) -> Sequence[Event] | None:
        with self._seam.pass_step("seize the log"):
            if fence < self._logs.fences[answer]:
                return None
            self._logs.fences[answer] = fence
            if answer in self._logs.current:
                self._logs.seized[answer] = self._logs.current.pop(answer)
            left = self._logs.seized.get(answer)
            return left.read_since(after) if left is not None and self._outlives else ()

    async def forget(self, answer: str, fence: int = ENDED) -> None:
        with self._seam.pass_step("forget the log"):
            if self._logs.fences[answer] <= fence:
                self._logs.seized.pop(answer, None)

    def _write(self, answer: str, fence: int) -> None:
        log, transcript = self._logs.current.get(answer), self._growing[answer]
        if log is None or fence != self._logs.fences[answer]:  # it was seized, or another owner has opened it again
            return
        new = transcript.read_since(log.position)
        if self._outlives:
            self._logs.note(answer, log.position, new)
        log.append(new)
