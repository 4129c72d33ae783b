"""Packed bodies, which nobody asked for: unpacked a little at a time, so that a small one cannot fill the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from chat.core.errors import ChatError
from chat.core.failures import Cause

# Bytes that are unpacked at once. A gzip of 64 KiB can hold 64 MiB.
PIECE_BYTES = 65_536

_AS_GZIP = 16 + zlib.MAX_WBITS

_PACKINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})


class Unpacker:
    """Unpacks gzip or zlib from bytes that may be cut anywhere, in pieces of at most `PIECE_BYTES`."""

    def __init__(self, encoding: str) -> None:
        """Take the value of a Content-Encoding; raises `ChatError` for any but gzip and deflate."""
        if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
            detail = f"answered packed as {encoding[:40]!r}"
            raise ChatError("upstream_error", detail, may_pass=False, cause=Cause.BAD_ANSWER)
        self._window_bits = zlib.MAX_WBITS if encoding.strip().lower() == "deflate" else _AS_GZIP
        self._unpack = zlib.decompressobj(self._window_bits)

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what this read holds, no piece of it empty; consume all of it.

        Raises `ChatError` for what is no such packing.
        """
        is_full = False  # then more of it may lie in the unpacker
        while packed or is_full:
            if self._unpack.eof:  # a gzip may follow another
                self._unpack = zlib.decompressobj(self._window_bits)
            try:
                piece = self._unpack.decompress(packed, PIECE_BYTES)
            except zlib.error as error:
                detail = f"answered with a broken packing: {error}"
                raise ChatError("upstream_error", detail, cause=Cause.BAD_ANSWER) from error
            packed = self._unpack.unused_data or self._unpack.unconsumed_tail
            is_full = len(piece) == PIECE_BYTES and not self._unpack.eof
            if piece:
                yield piece


def make_unpacker(encoding: str) -> Unpacker | None:
    """Return what unpacks a body with this Content-Encoding, None where that names no packing.

    Servers write `none`, so that proxies leave a stream alone, `utf-8` and more there. Raises `ChatError` for a packing
    that is not known.
    """
    packings = [word for part in encoding.split(",") if (word := part.strip().lower()) in _PACKINGS]
    return Unpacker(", ".join(packings)) if packings else None
