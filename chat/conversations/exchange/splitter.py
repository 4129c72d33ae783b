"""The values of a long JSON text, one by one: an archive of a gigabyte takes the memory of its longest conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chat.conversations.exchange.portable import UnreadableError

# Of one conversation: bytes, and objects and lists, each of which takes a hundred bytes of memory or more.
# The longest conversations that people have are a few million bytes with some ten thousand objects.
MAX_BYTES = 24_000_000
MAX_CONTAINERS = 400_000

# Objects and lists within each other. Real archives have about ten.
MAX_NESTED = 100

# Up to the next bracket, all strings passed over; and to the end of a string. Both take each byte once.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)
_TO_COMMA = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+", re.DOTALL)
_TO_QUOTE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"

NOT_JSON = "This is no JSON."
CUT_OFF = "The file ends in the middle: its download or its upload was incomplete."


class Splitter:
    """Finds where the values of a list end, or the one value that is no list, without reading them.

    What it gives may still be no JSON. A value that is too long is given as None.
    """

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._value = bytearray()
        self._is_too_long = False
        self._is_list: bool | None = None  # not known yet
        self._is_over = False  # the list has ended
        self._is_in_string = False
        self._is_escaped = False  # the next byte is part of an escape in a string
        self._open: list[int] = []
        self._containers = 0
        self._head = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Take a piece of the text in; yield the values that end in it. Raises `UnreadableError`."""
        if self._is_list is None:
            self._head += chunk
            chunk = bytes(self._head).removeprefix(_MARK).lstrip(_BLANK)
            if _MARK.startswith(self._head) or not chunk:
                return
            self._head.clear()
            self._is_list = chunk.startswith(b"[")
            if not self._is_list and not chunk.startswith(b"{"):
                raise UnreadableError(NOT_JSON)
            chunk = chunk[1:] if self._is_list else chunk
        yield from self._split(chunk)

    def finish(self) -> None:
        """Raise `UnreadableError` unless the text has ended."""
        if self._is_list is None:
            raise UnreadableError("The file is empty.")
        if self._open or self._is_in_string or (self._is_list and not self._is_over):
            raise UnreadableError(CUT_OFF)
        if self._value.strip(_BLANK):
            raise UnreadableError(NOT_JSON)

    def _split(self, chunk: bytes) -> Iterator[bytes | None]:
        start = place = 0
        while place < len(chunk):
            if self._is_in_string:
                place = self._pass_string(chunk, place)
                continue
            match = (_TO_BRACKET if self._open else _TO_COMMA).match(chunk, place)
            place = match.end() if match else place
            if place == len(chunk):
                break
            found = chunk[place : place + 1]
            place += 1
            if found == b'"':
                self._is_in_string = True
            elif found in b"[{":
                self._begin(found)
            elif found == b"," and self._is_list and not self._open:
                yield from self._end_value(chunk[start : place - 1])
                start = place
            elif found in b"]}" and self._open:
                self._end(found)
                if not self._open and not self._is_list:
                    yield from self._end_value(chunk[start:place])
                    start = place
            elif found == b"]" and self._is_list and not self._is_over:
                yield from self._end_value(chunk[start : place - 1])
                self._is_over, start = True, place
            else:
                raise UnreadableError(NOT_JSON)
        self._keep(chunk[start:])

    def _pass_string(self, chunk: bytes, place: int) -> int:
        """Return the place after a string, or the length of the chunk if the string goes on."""
        if self._is_escaped:
            self._is_escaped = False
            place += 1
        match = _TO_QUOTE.match(chunk, place)
        place = match.end() if match else place
        if place < len(chunk):
            self._is_escaped = chunk[place : place + 1] == b"\\"  # the last byte: its other half is in the next chunk
            self._is_in_string = self._is_escaped
            place += 1
        return place

    def _begin(self, bracket: bytes) -> None:
        self._open.append(bracket[0])
        self._containers += 1
        if len(self._open) > MAX_NESTED:
            raise UnreadableError(
                f"Its lists and objects are more than {MAX_NESTED} deep: this is no archive of chats."
            )

    def _end(self, bracket: bytes) -> None:
        if self._open.pop() != {b"]": b"[", b"}": b"{"}[bracket][0]:
            raise UnreadableError(NOT_JSON)

    def _keep(self, rest: bytes) -> None:
        """Keep what belongs to a value that goes on, as long as it is not too long."""
        if self._is_too_long or len(self._value) + len(rest) > self._most:
            self._is_too_long = True
            self._value.clear()
        else:
            self._value += rest

    def _end_value(self, rest: bytes) -> Iterator[bytes | None]:
        self._keep(rest)
        value = bytes(self._value).strip(_BLANK)
        if self._is_over or (value and not self._is_list and not value.startswith(b"{")):
            raise UnreadableError(NOT_JSON)
        is_too_long = self._is_too_long or self._containers > MAX_CONTAINERS
        self._value.clear()
        self._is_too_long, self._containers = False, 0
        if is_too_long:
            yield None
        elif value:
            yield value


def split_values(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the values of a JSON list, or the one value that is no list; None for one that is too long.

    Raises `UnreadableError` for what cannot be JSON, wherever that is noticed.
    """
    splitter = Splitter()
    for chunk in chunks:
        yield from splitter.feed(chunk)
    splitter.finish()
