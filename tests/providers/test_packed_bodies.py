"""A body that comes packed is unpacked a little at a time: a small one cannot fill the memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from functools import cache
from typing import Any

import pytest

from chat.core.errors import ChatError
from chat.providers.openai_provider import OpenAIProvider
from chat.providers.unpacking import PIECE_BYTES, Unpacker
from tests.contracts.hearing import KEY, PROMPT, complete, get_failure, hear
from tests.support.packed_server import PackedServer

TEXT = b"data: one\n\ndata: two\n\n" * 5_000
BOMB_BYTES = 60_000_000
MIB = 1_048_576


def unpack(encoding: str, reads: list[bytes]) -> list[bytes]:
    unpacker = Unpacker(encoding)
    return [piece for read in reads for piece in unpacker.feed(read)]


@pytest.mark.parametrize("size", [1, 2, 7, 1_000, 10**9])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        ("deflate", zlib.compress(TEXT)),
    ],
    ids=["gzip", "two of them", "deflate"],
)
def test_the_bytes_are_the_same_wherever_they_are_cut(encoding: str, packed: bytes, size: int) -> None:
    pieces = unpack(encoding, [packed[start : start + size] for start in range(0, len(packed), size)])
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert all(pieces)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_another_packing_is_refused(encoding: str) -> None:
    with pytest.raises(ChatError) as refused:
        Unpacker(encoding)
    assert (refused.value.code, refused.value.may_pass) == ("upstream_error", False)


@cache
def make_bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    begun = packer.compress(b'data: {"choices":[{"delta":{"content":"')
    return begun + b"".join(packer.compress(b"a" * MIB) for _ in range(BOMB_BYTES // MIB)) + packer.flush()


def test_a_broken_packing_is_a_failure() -> None:
    with pytest.raises(ChatError):
        unpack("gzip", [gzip.compress(TEXT)[:12] + b"\xff" * 400])


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize(("status", "code"), [(200, "upstream_error"), (500, "upstream_error"), (400, "bad_request")])
async def test_a_bomb_is_cut_off(ask: Any, status: int, code: str) -> None:
    """60 MB of text, packed into 60 KB."""
    async with PackedServer(make_bomb(), status) as server:
        provider = OpenAIProvider(api_key=KEY, base_url=server.url, max_line_bytes=MIB)
        tracemalloc.start()
        try:
            heard = await ask(provider, PROMPT)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await provider.aclose()
    assert get_failure(heard).code == code
    assert peak < 16 * MIB
