"""A splitter of byte streams into server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

from chat.core.errors import ChatError
from chat.core.failures import Cause

MAX_LINE_BYTES = 8_000_000  # the longest honest line is one tool call's arguments, well under a megabyte

SSE = tuple[bytes, bytes]
"""One server-sent event: its name (empty when it has none) and its data."""

BOM = b"\xef\xbb\xbf"


class SSESplitter:
    """Splits a byte stream, cut anywhere, into server-sent events.

    An event is yielded when its blank line has arrived. No line, and no event, may be longer than `max_line_bytes`.
    Beyond the specification, a JSON object is an event of its own in three cases: without a field's name, as Ollama
    writes an error into a stream on one line, and Google on several; on a line of the field `error`, as llama.cpp did
    until late 2025; and when the next line of data begins another object, as from servers that leave out the blank
    lines.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = max_line_bytes
        # Not a list of pieces: each piece would take 40 more bytes, and a hostile server sends pieces of one byte.
        self._open_line = bytearray()
        self._name = b""
        self._data = b""
        self._more_data: bytearray | None = None  # what `_data` was, when a second line comes
        self._has_data = False
        self._bare = bytearray()  # the lines so far of an object without a field's name
        self._at_start = True
        self._after_cr = False

    def feed(self, read: bytes) -> Iterator[SSE]:
        """Yield the events that this read completes, for the caller to consume all. A long line raises `ChatError`."""
        for line in self._split_lines(read):
            if not line:
                if self._has_data:
                    yield self._name, self._data if self._more_data is None else bytes(self._more_data)
                    self._data, self._more_data, self._has_data = b"", None, False
                self._name = b""
            elif line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                if self._has_data and self._more_data is None and _are_two(self._data, value):
                    yield self._name, self._data
                    self._data, self._has_data = b"", False
                self._add_data(value)
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif line == b"data":
                self._add_data(b"")
            elif line.startswith(b"error:"):
                yield b"error", line[6:].strip()
            elif self._add_bare(line):
                yield self._name, bytes(self._bare)
                self._bare = bytearray()

    def finish(self) -> Iterator[SSE]:
        """Yield the event, whole or half, that the end of the stream left without its blank line."""
        yield from self.feed(b"\n\n")

    def _split_lines(self, read: bytes) -> Iterator[bytes]:
        """Yield the lines that this read completes, without their ends."""
        if self._after_cr and read:
            read = read.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in read and b"\r" not in read:
            self._keep(read)
            return
        self._after_cr = read.endswith(b"\r")
        lines = read.splitlines()
        rest = b"" if read.endswith((b"\n", b"\r")) else lines.pop()
        lines[0] = self._complete_line(lines[0])
        for line in lines:
            if len(line) > self._limit:
                raise self._refuse_long_line()
            yield line
        self._keep(rest)

    def _complete_line(self, end: bytes) -> bytes:
        """Return the open line with its end."""
        if self._open_line:
            self._open_line += end
            end = bytes(self._open_line)
            self._open_line = bytearray()
        if self._at_start:
            self._at_start = False
            end = end.removeprefix(BOM)
        return end

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._open_line += piece
        # The first line may still lose a BOM; the limit must not depend on how the bytes were cut.
        if len(self._open_line) > self._limit + (len(BOM) if self._at_start else 0):
            self._open_line = bytearray()
            raise self._refuse_long_line()

    def _add_bare(self, line: bytes) -> bool:
        """Add a line without a field's name to an object; return whether `_bare` is a whole one now.

        One on several lines ends as it began, with a bracket that nothing stands before.
        """
        if self._bare:
            self._bare += b"\n" + line
            if len(self._bare) > self._limit:
                raise self._refuse_long_line()
            return line.rstrip() in ((b"}",) if self._bare.startswith(b"{") else (b"]", b"}]"))
        is_whole = line.startswith((b"{", b"[{")) and line.endswith((b"}", b"}]"))
        if is_whole or line.rstrip() in (b"{", b"[", b"[{"):
            self._bare += line
        return is_whole

    def _add_data(self, value: bytes) -> None:
        self._bare.clear()
        if not self._has_data:
            self._data, self._has_data = value, True
            return
        if self._more_data is None:
            self._more_data = bytearray(self._data)
            self._data = b""
        self._more_data += b"\n"
        self._more_data += value
        if len(self._more_data) > self._limit:
            self._more_data = None
            raise self._refuse_long_line()

    def _refuse_long_line(self) -> ChatError:
        detail = f"sent a line or event of more than {self._limit} bytes"
        return ChatError("upstream_error", detail, cause=Cause.BAD_ANSWER)


def _are_two(before: bytes, after: bytes) -> bool:
    """Return whether two lines of data are two JSON objects, or one and OpenAI's end marker, and so two events."""
    return before.startswith(b"{") and before.endswith(b"}") and after.startswith((b"{", b"[DONE"))
