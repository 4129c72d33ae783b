"""The network between a browser and its server: a TCP relay that can be cut, and can die without a word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Relay:
    """`with relay_to(server.port) as relay:`; `relay.url` is the server's address through it."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._to = port
        self._is_open = True
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Close every connection and accept no new one, until `mend`."""
        self._call(self._cut)

    def mend(self) -> None:
        self._is_open = True

    def swallow(self) -> None:
        """Let every connection die without a word to either side, as in a router that forgets. New ones work."""
        self._call(self._swallow)

    def sleep(self) -> None:
        """Let the streams die without a word, and close the idle connections, as browsers do when a machine sleeps."""
        self._call(self._sleep)

    def _call(self, change: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(change)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(10)

    def _cut(self) -> None:
        self._is_open = False
        for connection in self._connections:
            connection.close()

    def _swallow(self) -> None:
        for connection in self._connections:
            connection.is_dead = True

    def _sleep(self) -> None:
        for connection in self._connections:
            if b"/stream/" in connection.asked or b"POST /send/" in connection.asked:
                connection.is_dead = True
            else:
                connection.close()

    def run(self, ready: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end_tasks())
        self._loop.close()

    async def _end_tasks(self) -> None:
        """End what the browser, which is still open, has begun since the connections were cut."""
        begun = asyncio.all_tasks() - {asyncio.current_task()}
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close with the loop's next rounds

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.1, self._loop.stop)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        try:
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((writer, to_upstream))
        self._connections.add(connection)
        await asyncio.gather(connection.pass_up(reader, to_upstream), connection.pass_down(upstream, writer))
        self._connections.discard(connection)


class _Connection:
    """One connection of the browser; `asked` is what it sent last."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, ...]) -> None:
        self.asked = b""
        self.is_dead = False
        self._writers = writers

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                self.asked = data
                await self._pass(data, writer)
        self.close()

    async def pass_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._pass(data, writer)
        if not self.is_dead:
            self.close()

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if not self.is_dead:
            writer.write(data)
            await writer.drain()


@contextmanager
def start_relay(port: int) -> Iterator[Relay]:
    relay = Relay(port)
    ready = threading.Event()
    thread = threading.Thread(target=relay.run, args=(ready,), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield relay
    relay.stop()
    thread.join(10)
