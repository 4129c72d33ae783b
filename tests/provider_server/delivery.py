"""The sending of an answer: its frames at their times, and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from tests.provider_server.change_signal import ChangeSignal
from tests.provider_server.connection import ChunkedBody
from tests.provider_server.recorded_request import RecordedRequest
from tests.provider_server.script import STAMP_WIDTH, Fault
from tests.provider_server.wire import STAMP, Frame, Wire

_STAMP = STAMP.encode()
_LONG_WRITE = 65_536
_FILLED = "what a long line is full of"


class StreamEnds(Exception):  # noqa: N818
    """A fault ends the stream before its time; `body_ends` says whether HTTP may end it properly."""

    def __init__(self, *, body_ends: bool) -> None:
        super().__init__()
        self.body_ends = body_ends


class Delivery:
    """One answer on its way to one client."""

    def __init__(
        self, wire: Wire, body: ChunkedBody, recorded: RecordedRequest, changes: ChangeSignal, held: Callable[[], bool]
    ) -> None:
        self._wire = wire
        self._script = wire.script
        self._body = body
        self._recorded = recorded
        self._changes = changes
        self._held = held
        self._faults = wire.script.faults
        self._passed = 0

    async def run(self) -> None:
        """Send everything, and end the body, unless a fault broke the connection or the body is to hang at its end."""
        try:
            await self._send_frames()
        except StreamEnds as end:
            if not end.body_ends:
                return
        if self._script.hang_at_end:
            await self._wait(lambda: False)
        await self._wait_until_due(monotonic() + self._script.delay_end)
        await self._body.finish()

    async def _send_frames(self) -> None:
        due = monotonic() + self._script.delay_first
        for frame in self._wire.write_frames():
            if frame.kind != "opening":
                await self._wait_until_due(due)
                if self._held():
                    await self._wait(lambda: not self._held())
                if frame.kind != "reasoning":
                    await self._let_faults_happen(frame)
                due = max(due, monotonic() - self._script.delay_between) + self._script.delay_between
            await self._send(frame)
            if frame.kind == "finish" and self._script.after_finish:
                await self._cause(Fault(0, self._script.after_finish), frame)

    async def _wait_until_due(self, due: float) -> None:
        if (seconds := due - monotonic()) > 0:
            await self._body.flush()
            await self._pause(asyncio.sleep(seconds))

    async def _let_faults_happen(self, next_frame: Frame) -> None:
        while self._faults and self._faults[0].after <= self._recorded.sent_characters:
            await self._cause(self._faults.pop(0), next_frame)

    async def _cause(self, fault: Fault, next_frame: Frame) -> None:
        script = self._script
        match fault.name:
            case "gate":
                self._passed += 1
                await self._wait(lambda: self._recorded.releases >= self._passed)
            case "stall":
                await self._stall()
            case "malformed":
                await self._send(self._wire.make_malformed_frame())
            case "long_line":
                await self._send_long_line()
            case "error":
                await self._send(self._wire.make_error_frame())
                raise StreamEnds(body_ends=True)
            case "eof":
                raise StreamEnds(body_ends=True)
            case "drop":
                await self._body.break_off(next_frame.data, reset=script.drop_by == "reset")
                raise StreamEnds(body_ends=False)

    async def _stall(self) -> None:
        await self._body.flush()
        self._mark_waiting(True)
        seconds = self._script.stall_for
        await self._pause(asyncio.Event().wait() if seconds is None else asyncio.sleep(seconds))
        self._mark_waiting(False)

    async def _send_long_line(self) -> None:
        """Send a long line in pieces, so that no event loop is blocked and a client that closes early is noticed."""
        before, after = self._wire.make_text_frame(_FILLED).data.split(_FILLED.encode())
        await self._send(Frame(before))
        missing = self._script.long_line
        while missing > 0:
            piece = b"a" * min(missing, _LONG_WRITE)
            await self._send(Frame(piece))
            await asyncio.sleep(0)
            missing -= len(piece)
        await self._send(Frame(after))

    async def _wait(self, holds: Callable[[], bool]) -> None:
        await self._body.flush()
        self._mark_waiting(True)
        await self._pause(self._changes.wait_until(holds))
        self._mark_waiting(False)

    def _mark_waiting(self, waiting: bool) -> None:
        self._recorded.is_paused = waiting
        self._changes.notify()

    async def _pause(self, something: Awaitable[object]) -> None:
        """Wait for something, with pings in the meantime if the script wants them."""
        if not self._script.ping_interval:
            await something
            return
        waiting = asyncio.ensure_future(something)
        try:
            while not (await asyncio.wait({waiting}, timeout=self._script.ping_interval))[0]:
                await self._body.write(self._wire.ping)
                await self._body.flush()
        finally:
            waiting.cancel()

    async def _send(self, frame: Frame) -> None:
        data = frame.data
        if self._script.timestamped and frame.kind == "text":
            data = data.replace(_STAMP, f"{monotonic():.6f}".ljust(STAMP_WIDTH).encode())
        if self._script.crlf:
            data = data.replace(b"\n", b"\r\n")
        await self._body.write(data)
        self._recorded.sent_bytes += len(data)
        if frame.characters:
            self._recorded.record_sent(frame.characters)
        self._changes.notify()
