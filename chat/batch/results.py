"""The file of results that a batch writes, one line for each prompt."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from chat.batch.input import Item
from chat.core.events import Usage
from chat.generation.verdict import Verdict
from chat.models import Status
from chat.streaming.json_lines import encode_line


@dataclass(slots=True)
class Result:
    """The end of one prompt: its text, its tokens, or why it has none."""

    item: Item
    verdict: Verdict
    text: str = ""
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    notices: Sequence[tuple[str, str]] = ()
    """Codes and sentences: that another model answered, and what of the prompt's wishes it was asked without."""

    def write_line(self) -> bytes:
        error = asdict(self.verdict.terminal) if self.verdict.error_code else None
        fields: dict[str, Any] = {
            "id": self.item.id,
            "text": self.text,
            "status": self.verdict.status.value,
            "finish_reason": self.verdict.finish_reason or None,
            "usage": asdict(self.usage),
            "error": error,
        }
        if self.notices:
            fields["notices"] = [{"code": code, "message": message} for code, message in self.notices]
        return encode_line(fields) + b"\n"


class BusyFileError(Exception):
    """Another run writes to the same file."""


class ForeignFileError(Exception):
    """The file has lines that no batch has written, which a repair would delete."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# How each result begins: what a crash tore is a piece of one.
BEGINNING = b'{"id":'


class Results:
    """The file that results are added to, and the ids in it. One run at a time has it open.

    Raises `ForeignFileError` for a file that holds something else, such as the prompts.
    A line that a crash tore is dropped; with `drops_failed`, so are the lines of those that failed, all in one step.
    """

    def __init__(self, path: Path, *, drops_failed: bool = False) -> None:
        self._path = path
        self._drops_failed = drops_failed
        self._files: list[BinaryIO] = []
        self._ids: set[str] = set()

    def __enter__(self) -> Self:
        try:
            file = self._open(self._path)
            kept, is_whole = self._find_kept(file)
            if not is_whole:
                file = self._rewrite(kept)
            file.seek(0, os.SEEK_END)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __contains__(self, item: Item) -> bool:
        return str(item.id) in self._ids

    def add(self, result: Result) -> None:
        """Write a result, and hand it to the operating system before returning."""
        self._files[-1].write(result.write_line())
        self._files[-1].flush()
        self._ids.add(str(result.item.id))

    def _open(self, path: Path) -> BinaryIO:
        file = path.open("a+b")
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyFileError(path) from None
        return file

    def _find_kept(self, file: BinaryIO) -> tuple[list[tuple[int, int]], bool]:
        """Return where the lines to be kept lie, as starts and sizes in bytes, and whether those are all lines."""
        kept, start = [], 0
        file.seek(0)
        for number, line in enumerate(file, 1):
            if self._is_kept(number, line):
                kept.append((start, len(line)))
            start += len(line)
        return kept, sum(size for _, size in kept) == start

    def _is_kept(self, number: int, line: bytes) -> bool:
        try:
            known = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            if line.endswith(b"\n") or not BEGINNING.startswith(line[: len(BEGINNING)]):
                raise ForeignFileError(number) from None
            return False
        try:
            key, status = str(known["id"]), known["status"]
        except (KeyError, TypeError):
            raise ForeignFileError(number) from None
        if not line.endswith(b"\n") or (self._drops_failed and status != Status.COMPLETE):
            return False
        self._ids.add(key)
        return True

    def _rewrite(self, kept: list[tuple[int, int]]) -> BinaryIO:
        """Return a new file with the kept lines alone, in the place of the old one, which stays open and so locked."""
        old = self._files[-1]
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.unlink(missing_ok=True)
        new = self._open(beside)
        for start, size in kept:
            old.seek(start)
            new.write(old.read(size))
        new.flush()
        os.fsync(new.fileno())
        beside.replace(self._path)
        return new

    def _close(self) -> None:
        while self._files:
            self._files.pop().close()
