"""Responses in background mode: the answer goes on without its client, who may follow it again or cancel it.

What the API refuses is in its own words, as its users quote them: openai/openai-python#2828 for a stream that is too
old, "Background mode" in OpenAI's guide for the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from urllib.parse import parse_qs, urlsplit

from tests.provider_server.change_signal import ChangeSignal
from tests.provider_server.connection import ChunkedBody
from tests.provider_server.openai_responses import ID, ResponsesWire
from tests.provider_server.recorded_request import RecordedRequest
from tests.provider_server.wire import Frame, Json, Refusal

STREAMABLE_FOR = 300.0
KEPT_FOR = 600.0
"""Seconds for which a response can be streamed again, and for which it can be had at all."""

_IDS = count(1)


class BackgroundResponse:
    """One response: a task of its own writes its events, and any number of clients read them."""

    def __init__(
        self, wire: ResponsesWire, recorded: RecordedRequest, changes: ChangeSignal, is_held: Callable[[], bool]
    ) -> None:
        self.id = wire.response_id = f"{ID[:-4]}{next(_IDS):04}"
        self.status = "queued"
        self.is_streamed = bool(recorded.body.get("stream"))
        self.began = monotonic()
        self.recorded = recorded
        """The request that began it."""
        self.drops = sorted(wire.script.drop_connections_at)
        """Lengths of the text at which a connection that sends it breaks, each once."""
        self._wire, self._changes, self._is_held = wire, changes, is_held
        self._frames: list[Frame] = []
        self._task = asyncio.get_running_loop().create_task(self._write())

    @property
    def is_over(self) -> bool:
        """Return whether nothing is added any more."""
        return self._task.done()

    @property
    def characters(self) -> int:
        """Return how many characters of its text have been written."""
        return sum(frame.characters for frame in self._frames)

    @property
    def sent(self) -> bytes:
        """Return its events so far as they go over the wire."""
        return b"".join(frame.data for frame in self._frames)

    def make_snapshot(self) -> Json:
        """Return the response as `GET /v1/responses/{id}` has it now."""
        if self.status in ("completed", "incomplete"):
            return self._wire.make_completion()
        return self._wire.make_response(self.status)

    def cancel(self) -> Refusal | None:
        """End it; to cancel it again changes nothing, and what has ended otherwise is not cancelled."""
        if self.status in ("completed", "failed"):
            message = f"Cannot cancel a {self.status} response."
            return Refusal(400, "invalid_request_error", message, None, "response_id")
        self.status = "cancelled"
        self._task.cancel()
        self._changes.notify()
        return None

    def close(self) -> asyncio.Task[None]:
        """End its task, as the server goes away."""
        self._task.cancel()
        return self._task

    # What is written

    async def _write(self) -> None:
        script = self._wire.script
        self.status = "in_progress"
        faults = [fault for fault in script.faults if fault.name != "drop"]
        passed = 0
        due = monotonic() + script.delay_first
        for frame in self._wire.write_frames():
            if frame.kind != "opening":
                await asyncio.sleep(max(0.0, due - monotonic()))
                await self._wait(lambda: not self._is_held())
                while faults and faults[0].after <= self.characters and frame.kind != "reasoning":
                    fault = faults.pop(0)
                    if fault.name == "gate":
                        passed += 1
                        await self._wait(partial(self._is_released, passed))
                    elif fault.name == "stall":
                        await self._wait(lambda: False)
                    elif fault.name == "error":
                        self._add(self._wire.make_failure_frame())
                        self.status = "failed"
                        return
                due = max(due, monotonic() - script.delay_between) + script.delay_between
            self._add(frame)
            if frame.kind == "finish":
                self.status = self._wire.status
            await asyncio.sleep(0)

    def _is_released(self, gates: int) -> bool:
        return self.recorded.releases >= gates

    async def _wait(self, holds: Callable[[], bool]) -> None:
        if holds():
            return
        self.recorded.is_paused = True
        self._changes.notify()
        await self._changes.wait_until(holds)
        self.recorded.is_paused = False

    def _add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._changes.notify()

    # What is read

    async def send(self, body: ChunkedBody, recorded: RecordedRequest, starting_after: int | None = None) -> None:
        """Send its events after this number, as they come; the connection ends with the last one, or breaks before."""
        place = 0 if starting_after is None else starting_after + 1
        had = sum(frame.characters for frame in self._frames[:place])
        while True:
            while place < len(self._frames):
                frame = self._frames[place]
                if self.drops and had <= self.drops[0] < had + frame.characters:
                    self.drops.pop(0)
                    await body.break_off(frame.data, reset=self._wire.script.drop_by == "reset")
                    return
                await body.write(frame.data)
                recorded.sent_bytes += len(frame.data)
                if frame.characters:
                    recorded.record_sent(frame.characters)
                had += frame.characters
                place += 1
                self._changes.notify()
            await body.flush()
            if self.is_over and place >= len(self._frames):
                break
            await self._changes.wait_until(partial(self._has_more, place))
        await body.finish()

    def _has_more(self, place: int) -> bool:
        return place < len(self._frames) or self.is_over


class BackgroundResponses:
    """All of a server's responses in background mode, by their ids."""

    def __init__(self) -> None:
        self.streamable_for = STREAMABLE_FOR
        self.kept_for = KEPT_FOR
        self.cancelled: list[str] = []
        """The ids that were cancelled, one for each request."""
        self.refusals: deque[Refusal] = deque()
        """What the next requests for a response are refused with, one each."""
        self._responses: dict[str, BackgroundResponse] = {}

    @property
    def all(self) -> list[BackgroundResponse]:
        """Return them in the order in which they were begun."""
        return [*self._responses.values()]

    def add(self, response: BackgroundResponse) -> None:
        """Keep a response that begins."""
        self._responses[response.id] = response

    def find(self, response_id: str) -> BackgroundResponse | None:
        """Return the response, unless there is none any more."""
        found = self._responses.get(response_id)
        return None if found is None or monotonic() - found.began > self.kept_for else found

    def take_refusal(self) -> Refusal | None:
        """Return what the next request is refused with, where a test wants that."""
        return self.refusals.popleft() if self.refusals else None

    def find_stream_complaint(self, response: BackgroundResponse) -> Refusal | None:
        """Return why the response cannot be streamed again."""
        if not response.is_streamed:
            message = "This response cannot be streamed because it was not created with stream=true."
        elif monotonic() - response.began > self.streamable_for:
            message = "This response can no longer be streamed because it is more than 5 minutes old"
        else:
            return None
        return Refusal(400, "invalid_request_error", message)


def read_stream_query(path: str) -> tuple[bool, int | None]:
    """Return whether a request for a response wants a stream, and after which event."""
    query = parse_qs(urlsplit(path).query)
    after = query.get("starting_after")
    return query.get("stream") == ["true"], int(after[0]) if after else None


def find_background_complaint(request: Json) -> Refusal | None:
    """Return what is wrong with a request for a response in background mode."""
    if request.get("background") and request.get("store") is False:
        message = "Background mode requires 'store' to be true."
        return Refusal(400, "invalid_request_error", message, None, "background")
    return None
