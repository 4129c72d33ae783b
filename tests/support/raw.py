"""A client of the provider server that sees every byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

PATIENCE = 20.0
QUESTION = [{"role": "user", "content": "Why?"}]
STREAMED: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": QUESTION, "stream": True}


class Raw:
    """A client that sees every byte and where the reads were cut."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, body: object, path: str = "/v1/chat/completions", headers: Mapping[str, str] = {}) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "test", "Authorization": "Bearer sk", "Anthropic-Version": "2023-06-01", **headers}
        fields["Content-Length"] = str(len(data))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        self.writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)
        await self.writer.drain()

    async def read_response(self) -> tuple[int, bytes]:
        """Return the status and the body of a response that tells its length."""
        head = (await self.read_until(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def read_until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    async def to_the_end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), PATIENCE)
