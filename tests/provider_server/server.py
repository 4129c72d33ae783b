"""The server: which script answers which request, and what a test can see and steer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import Any, Self

from tests.provider_server.anthropic import REQUEST_ID, AnthropicWire
from tests.provider_server.anthropic_contracts import CONTRACTS, StrictModels
from tests.provider_server.background import (
    BackgroundResponse,
    BackgroundResponses,
    find_background_complaint,
    read_stream_query,
)
from tests.provider_server.change_signal import ChangeSignal
from tests.provider_server.connection import ChunkedBody, Connection, Request
from tests.provider_server.delivery import Delivery
from tests.provider_server.directives import apply_directives, change_script
from tests.provider_server.openai import OpenAIWire
from tests.provider_server.openai_models import find_contract
from tests.provider_server.openai_responses import ResponsesWire
from tests.provider_server.parts import find_refused_part
from tests.provider_server.prompt_cache import PromptCache
from tests.provider_server.recorded_request import RecordedRequest
from tests.provider_server.script import Script
from tests.provider_server.wire import HTML, Json, Refusal, Wire

HOST = "127.0.0.1"
PATIENCE = 10.0
MODELS = ("gpt-test", "messages-test")

WIRES: dict[str, type[Wire]] = {
    "/v1/chat/completions": OpenAIWire,
    "/v1/responses": ResponsesWire,
    "/v1/messages": AnthropicWire,
}


class ProviderServer:
    """Listens while its `async with` lasts. Everything that is not a coroutine may be used from any thread."""

    def __init__(self, script: Script | None = None, *, port: int = 0, api_key: str | None = None) -> None:
        self.script = script or Script()
        """What answers when the queue is empty and the message has no directive."""
        self.requests: list[RecordedRequest] = []
        self.prompt_cache = PromptCache()
        """Charges the requests whose script says `counts_tokens`."""
        self.strict = StrictModels()
        """What the models with a contract have said and cached, and what they bill."""
        self.background = BackgroundResponses()
        """The Responses API's responses in background mode, which go on without their clients."""
        self.port = port
        self._api_key = api_key
        self._queue: deque[Script] = deque()
        self._changes = ChangeSignal()
        self._held = False
        self._connections: set[Connection] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        protocol = lambda: Connection(self._respond, self._connections, self._changes.notify)  # noqa: E731
        self._server = await loop.create_server(protocol, HOST, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        tasks = [connection.task for connection in self._connections]
        tasks += [response.close() for response in self.background.all]
        for connection in [*self._connections]:
            connection.break_off(reset=True)
            connection.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @classmethod
    @contextmanager
    def run_in_thread(cls, script: Script | None = None, *, port: int = 0) -> Iterator[ProviderServer]:
        """Run a server in a thread and an event loop of its own, and yield it."""
        server = cls(script, port=port)
        thread = _ServerThread(server)
        thread.start()
        try:
            thread.wait_until_ready()
            yield server
        finally:
            thread.stop()

    def enqueue(self, *scripts: Script) -> None:
        """Answer the next requests with these, one each; they go before any directive."""
        self._queue.extend(scripts)

    def hold(self) -> None:
        """Let no stream send another delta, nor its end, until `release`."""
        self._held = True

    def release(self) -> None:
        """End the hold, and let every request that has arrived so far pass one gate (`Script.gate_after`),
        the one where it stands or the next one it comes to.
        """
        self._held = False
        for recorded in self.requests:
            recorded.releases += 1
        self._changes.notify()

    async def wait_until(self, holds: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until `holds()`, which is called whenever something changes here; raises `TimeoutError`."""
        await self._changes.wait_until(holds, timeout)

    def block_until(self, holds: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Block a thread that has no event loop until `holds()`; raises `TimeoutError`."""
        self._changes.block_until(holds, timeout)

    async def wait_for_requests(self, count: int = 1, timeout: float = PATIENCE) -> RecordedRequest:
        """Wait until so many requests have arrived; returns the last of them."""
        await self.wait_until(lambda: len(self.requests) >= count, timeout)
        return self.requests[count - 1]

    async def wait_for_characters(self, recorded: RecordedRequest, count: int, timeout: float = PATIENCE) -> None:
        """Wait until so many characters of the text were sent."""
        await self.wait_until(lambda: recorded.sent_characters >= count, timeout)

    async def wait_until_paused(self, recorded: RecordedRequest, timeout: float = PATIENCE) -> None:
        """Wait until the stream stands at a gate, is held, or stalls."""
        await self.wait_until(lambda: recorded.is_paused, timeout)

    async def wait_until_closed(self, recorded: RecordedRequest, timeout: float = PATIENCE) -> float:
        """Wait until the client has closed the connection before the answer's end; returns when it did."""
        await self.wait_until(lambda: recorded.closed_at is not None, timeout)
        assert recorded.closed_at is not None
        return recorded.closed_at

    async def _respond(self, request: Request, connection: Connection) -> None:
        path = request.path.partition("?")[0]
        if request.method == "POST" and path in WIRES:
            await self._answer(WIRES[path], request, connection)
        elif path.startswith("/v1/responses/"):
            await self._follow(path.removeprefix("/v1/responses/"), request, connection)
        elif request.method == "GET" and path == "/v1/models":
            await connection.respond_json(200, _list_models())
        elif path.startswith("/_/"):
            await self._obey(path.removeprefix("/_/"), request, connection)
        else:
            await connection.respond_json(
                404, {"error": {"message": f"Unknown request URL: {path}", "type": "not_found"}}
            )

    async def _answer(self, wire_type: type[Wire], request: Request, connection: Connection) -> None:
        body = _parse_json(request.body)
        if body is None:
            refusal = Refusal(400, "invalid_request_error", "We could not parse the JSON body of your request.")
            await connection.respond_json(400, wire_type.build_error_body(refusal))
            return
        recorded = self._record(request, body, connection)
        strict = wire_type is AnthropicWire and body.get("model") in CONTRACTS
        wire = wire_type(recorded.script, body)
        try:
            if refusal_of_request := (
                wire.find_complaint(request.headers, body, self._api_key)
                or find_background_complaint(body)
                or (self.strict.find_complaint(body) if strict else None)
                or find_refused_part(recorded.script, body)
            ):
                error = refusal_of_request.body or wire.build_error_body(refusal_of_request)
                await connection.respond_json(refusal_of_request.status, error)
            else:
                if strict:
                    wire = self._bill(wire, recorded)
                elif recorded.script.counts_tokens:
                    wire = wire_type(self._charge(recorded), body)
                await self._run_script(wire, recorded, connection)
            recorded.finished_at = monotonic()
        finally:
            if recorded.finished_at is None:
                recorded.closed_at = connection.lost_at
            recorded.is_paused = False
            self._changes.notify()

    async def _follow(self, place: str, request: Request, connection: Connection) -> None:
        """Respond to a request about a background response: send its stream or its state, or cancel it."""
        response_id, _, action = place.partition("/")
        recorded = RecordedRequest(request.method, request.path, request.headers, {}, connection.peer, self.script)
        self.requests.append(recorded)
        self._changes.notify()
        wants_stream, after = read_stream_query(request.path)
        found = self.background.find(response_id)
        refusal = self.background.take_refusal()
        try:
            if found is None:
                message = f"Response with id '{response_id}' not found."
                refusal = refusal or Refusal(404, "invalid_request_error", message, None, "id")
            elif refusal is None and action == "cancel" and request.method == "POST":
                self.background.cancelled.append(response_id)
                refusal = found.cancel()
            elif refusal is None and wants_stream:
                refusal = self.background.find_stream_complaint(found)
            if refusal is not None or found is None:
                assert refusal is not None
                await connection.respond_json(refusal.status, OpenAIWire.build_error_body(refusal))
            elif wants_stream:
                await self._send_response(found, recorded, connection, after)
            else:
                await connection.respond_json(200, found.make_snapshot())
            recorded.finished_at = monotonic()
        finally:
            if recorded.finished_at is None:
                recorded.closed_at = connection.lost_at
            self._changes.notify()

    async def _send_response(
        self, response: BackgroundResponse, recorded: RecordedRequest, connection: Connection, after: int | None = None
    ) -> None:
        body = ChunkedBody(connection, http_chunk_size=recorded.script.http_chunk_size)
        await body.start(_stream_headers())
        await response.send(body, recorded, after)

    def _bill(self, wire: Wire, recorded: RecordedRequest) -> Wire:
        """Return the answer of a model that has a contract, with what it costs by the model's own count."""
        said = recorded.script.usage
        usage = self.strict.count(recorded.body, said.output_tokens, said.reasoning_tokens)
        recorded.script = replace(recorded.script, usage=usage)
        self.strict.remember(recorded.body, wire.make_completion()["content"])
        return AnthropicWire(recorded.script, recorded.body)

    def _record(self, request: Request, body: Json, connection: Connection) -> RecordedRequest:
        recorded = RecordedRequest(request.method, request.path, request.headers, body, connection.peer, self.script)
        if self._queue:
            recorded.script = self._queue.popleft()
        elif not recorded.brings_results and (script := apply_directives(recorded.prompt, self.script)):
            recorded.script = script
        self.requests.append(recorded)
        self._changes.notify()
        return recorded

    def _charge(self, recorded: RecordedRequest) -> Script:
        """Return the request's script with the usage that its prompt and its answer come to."""
        script = recorded.script
        contract = find_contract(str(recorded.body["model"]))
        answer = script.whole_text + "".join(call.arguments for call in script.tool_calls)
        pays = contract is not None and contract.pays_for_writing
        usage = self.prompt_cache.bill(recorded.body, answer, script.reasoning, pays_for_writing=pays)
        return replace(script, usage=usage)

    async def _run_script(self, wire: Wire, recorded: RecordedRequest, connection: Connection) -> None:
        script = wire.script
        await asyncio.sleep(script.delay_headers)
        if script.html_page:
            await connection.respond(script.status, HTML, "text/html; charset=utf-8")
        elif script.location:
            headers = {"location": script.location}
            await connection.respond(script.status, b"", "text/plain", headers)
        elif script.raw:
            await self._send_raw(script, recorded, connection)
        elif script.is_refusal:
            await self._refuse(wire, recorded, connection)
        elif isinstance(wire, ResponsesWire) and recorded.body.get("background"):
            response = BackgroundResponse(wire, recorded, self._changes, lambda: self._held)
            self.background.add(response)
            if recorded.body.get("stream"):
                await self._send_response(response, recorded, connection)
            else:
                await connection.respond_json(200, response.make_snapshot())
        elif script.ignore_stream or not recorded.body.get("stream"):
            await self._complete(wire, recorded, connection)
        else:
            body = ChunkedBody(
                connection,
                http_chunk_size=script.http_chunk_size,
                gather_writes=script.gather_writes,
                gzipped=script.gzipped,
            )
            await body.start(_stream_headers())
            await Delivery(wire, body, recorded, self._changes, lambda: self._held).run()

    async def _send_raw(self, script: Script, recorded: RecordedRequest, connection: Connection) -> None:
        data = script.raw.encode("utf-8", "surrogatepass")
        if script.status != 200:
            await connection.respond(script.status, data, script.raw_type)
            return
        body = ChunkedBody(connection, http_chunk_size=script.http_chunk_size)
        await body.start({**_stream_headers(), "content-type": script.raw_type})
        if script.drop_after is None:
            await body.write(data)
            recorded.sent_bytes += len(data)
            await body.finish()
        else:
            await body.write(data[: script.drop_after])
            await body.break_off(data[script.drop_after :], reset=script.drop_by == "reset")

    async def _complete(self, wire: Wire, recorded: RecordedRequest, connection: Connection) -> None:
        """Send the answer in one piece, with those of the stream's faults that can happen to such an answer."""
        script = wire.script
        await asyncio.sleep(script.delay_first)
        if script.gate_after is not None or self._held:
            recorded.is_paused = True
            self._changes.notify()
            await self._changes.wait_until(lambda: recorded.releases > 0)
            recorded.is_paused = False
        if script.error_event_after is not None:
            await connection.respond_json(200, wire.build_error_body(wire.make_refusal()))
            return
        body = wire.encode_json(wire.make_completion())
        if script.malformed_json_after is not None:
            body = body[:-6]
        if script.drop_after is not None:
            await connection.respond_partly(body, "application/json", reset=script.drop_by == "reset")
            return
        await connection.respond(200, body, "application/json")
        recorded.sent_bytes += len(body)
        recorded.record_sent(len(script.whole_text))

    async def _refuse(self, wire: Wire, recorded: RecordedRequest, connection: Connection) -> None:
        script = wire.script
        refusal = wire.make_refusal()
        if script.echo_key:
            refusal = refusal._replace(message=f"{refusal.message} Your key: {wire.read_key(recorded.headers)}")
        headers = {"request-id": REQUEST_ID}
        if script.retry_after is not None:
            headers["retry-after"] = str(script.retry_after)
        if script.retry_after_ms is not None:
            headers["retry-after-ms"] = str(script.retry_after_ms)
        await connection.respond_json(refusal.status, wire.build_error_body(refusal), headers)

    async def _obey(self, action: str, request: Request, connection: Connection) -> None:
        """Do what a program in another process tells the server; see `__main__.py`."""
        answer: Any = {}
        try:
            match request.method, action:
                case "GET", "requests":
                    answer = [recorded.summarise() for recorded in self.requests]
                case "POST", "script":
                    self.script = change_script(Script(), json.loads(request.body))
                case "POST", "enqueue":
                    self.enqueue(change_script(self.script, json.loads(request.body)))
                case "POST", "hold":
                    self.hold()
                case "POST", "release":
                    self.release()
                case _:
                    await connection.respond_json(404, {"error": f"no such action: {request.method} {action}"})
                    return
        except ValueError as error:
            await connection.respond_json(400, {"error": str(error)})
            return
        await connection.respond_json(200, answer)


class _ServerThread(threading.Thread):
    def __init__(self, server: ProviderServer) -> None:
        super().__init__(name="provider-server", daemon=True)
        self._server = server
        self._ready = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._server:
            self._ready.set()
            await self._stopping.wait()

    def wait_until_ready(self) -> None:
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join()


def _parse_json(body: bytes) -> Json | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _stream_headers() -> Mapping[str, str]:
    return {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-request-id": REQUEST_ID,
        "request-id": REQUEST_ID,
    }


def _list_models() -> Json:
    models = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "test"} for name in MODELS]
    return {"object": "list", "data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
