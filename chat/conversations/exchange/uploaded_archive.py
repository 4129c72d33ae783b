"""An archive that a user uploads: a ZIP or a JSON text, which may be broken, enormous, or made to do harm.

Nothing is written to a disk and nothing is read whole: members are inflated piece by piece, up to a limit.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec

from chat.conversations.exchange.portable import UnreadableError
from chat.conversations.exchange.splitter import MAX_BYTES, split_values

# Bytes that are inflated and searched at once: a few milliseconds, in which no other thread runs.
CHUNK = 65_536

# How many times as long as its file an archive may be. Texts shrink to a fourth, or to a tenth; a bomb to a thousandth.
MAX_INFLATION = 20

# The bytes of an archive's table of contents, which Python keeps in memory, in about ten times as many: 100,000 files.
MAX_DIRECTORY = 20_000_000

# ChatGPT writes conversations.json, or conversations-000.json and so on; Claude conversations.json; this site a file
# for each conversation. Each may lie in a folder of the archive.
# A Mac that packs a folder puts a file "._name" with its own notes beside each file, in a folder __MACOSX.
_MEMBER = re.compile(r"(?:^|/)(?:conversations(?:[-_]?\d+)?\.json|conversations/[^/.][^/]*\.json)$", re.IGNORECASE)

BROKEN = "This ZIP archive is broken: its download or its upload was incomplete."
TOO_LONG = f"A conversation of more than {MAX_BYTES // 1_000_000} MB"

# The last record of a ZIP, and the longer one before it where there is one.
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_LONG_END = struct.Struct("<4sQ2H2L4Q")


class UploadedArchive:
    """Reads the conversations of a file as JSON values, in an order that is always the same.

    `pause_or_stop` is called now and then: what it raises ends the reading.
    """

    def __init__(self, path: Path, pause_or_stop: Callable[[], None]) -> None:
        self._path = path
        self._pause_or_stop = pause_or_stop
        self._left = MAX_INFLATION * max(path.stat().st_size, 1_000_000)

    def count(self) -> int:
        """Count the conversations, and look through the whole file meanwhile. Raises `UnreadableError`."""
        return sum(1 for _ in self._read_texts())

    def read(self) -> Iterator[Any]:
        """Yield each conversation as a JSON value, or an `UnreadableError` in its place."""
        for text in self._read_texts():
            yield UnreadableError(TOO_LONG) if text is None else _decode(text)

    def _read_texts(self) -> Iterator[bytes | None]:
        left = self._left
        with self._path.open("rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                yield from split_values(self._watch(_read_chunks(file)))
                return
            try:
                yield from self._read_zip(file)
            except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
                raise UnreadableError(BROKEN) from error
        self._left = left

    def _read_zip(self, file: BinaryIO) -> Iterator[bytes | None]:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            members = list(_choose_members(archive.infolist()))
            if not members:
                raise UnreadableError("There are no conversations in this archive: it has no conversations.json.")
            for member in members:
                with closing(archive.open(member)) as inflated:
                    yield from split_values(self._watch(_read_chunks(inflated)))

    def _watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass pieces on as long as there are not too many of them. Raises `UnreadableError`."""
        for chunk in chunks:
            self._pause_or_stop()
            self._left -= len(chunk)
            if self._left < 0:
                raise UnreadableError(
                    f"This archive is more than {MAX_INFLATION} times as long as its file: it is not one of chats."
                )
            yield chunk


def _read_chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _decode(text: bytes) -> Any:
    """Return the value of a JSON text. Raises `UnreadableError` for text that is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass
    try:
        # Python's own takes halves of characters (\ud83d without its other half), which archives have.
        return msgspec.json.decode(_replace_halves(text.decode()))
    except UnicodeDecodeError:
        return UnreadableError("It is not UTF-8.")
    except (ValueError, RecursionError):
        return UnreadableError("It is no JSON.")


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|.)", re.DOTALL)


def _replace_halves(text: str) -> str:
    """Return JSON in which no escape is half of a character."""

    def replace(escape: re.Match[str]) -> str:
        first, second = escape.groups()
        if first is None:
            return escape.group()
        is_first_half = "d800" <= first.lower() <= "dbff"
        if is_first_half and second:
            return escape.group()
        is_half = "d800" <= first.lower() <= "dfff"
        kept = "\\ufffd" if is_half else f"\\u{first}"
        return kept + ("\\ufffd" if second else "")

    return _ESCAPE.sub(replace, text)


def _choose_members(members: Iterable[zipfile.ZipInfo]) -> Iterator[zipfile.ZipInfo]:
    """Yield the files that hold conversations, by their names. Raises `UnreadableError` for one made to do harm."""
    for member in sorted(members, key=lambda member: member.filename):
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UnreadableError(f"This archive names a file outside of itself: {member.filename[:80]!r}.")
        if member.is_dir() or not _MEMBER.search(str(path)):
            continue
        if member.flag_bits & 1:
            raise UnreadableError("This archive is locked with a password. Upload it without one.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableError(
                "This archive is packed in a way that this site does not read. Pack it as a plain ZIP."
            )
        yield member


def _check_directory(file: BinaryIO) -> None:
    """Raise `UnreadableError` where the table of contents is too long to be kept in memory.

    Its length is looked for where `zipfile` looks for it.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_536 - _END.size - _LOCATOR.size - _LONG_END.size))
    tail = file.read()
    file.seek(0)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise UnreadableError(BROKEN)
    length = _END.unpack_from(tail, place)[5]
    longer = place - _LOCATOR.size - _LONG_END.size
    if longer >= 0 and tail[place - _LOCATOR.size :].startswith(b"PK\x06\x07"):
        length = max(length % 0xFFFFFFFF, _LONG_END.unpack_from(tail, longer)[8])
    if length > MAX_DIRECTORY:
        raise UnreadableError("This archive has too many files.")
