"""The journal: what has been shown of live answers, in files, so that it outlives the process without a Redis.

Each answer has a file, and its text is written to the file before it is shown. What a killed process has written is
with the kernel, so nothing waits for the disk. The process that continues the answer reads the text from the file. The
files are as private as the text: only the user of the process may read them, and each is deleted when its answer ends.

A file holds lines: first the boot of the machine and the position at which the log begins, then entries, each with the
position that follows it. A last line without its end was never shown. A file without a line could not be written: it
is not known what was shown of its answer. Nor is it known after a crash of the machine.

The processes of a site share one directory. Each log has a file with a name of its own, in which its owner's fence
stands. To seize it is to rename it: an owner that was only paused does not find it any more. A process that was paused
in the middle of taking over leaves the files of later owners alone.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from chat.broker.base import ENDED
from chat.broker.entries import decode, encode, extend
from chat.core.events import Lasting
from chat.core.transcript import Transcript

log = logging.getLogger(__name__)

# Seconds after a failure in which the logs that have failed are not tried again, and those between two log lines.
TRY_AGAIN_AFTER = 5.0
FAILURE_LOGGED_EVERY = 60.0

SEIZED = ".seized"

# <answer>.<fence>.<random>, the answer's id being a UUID; the version before wrote no fence. Whatever else is in the
# directory is left alone.
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.([0-9]{1,19}))?\.[0-9a-f]{16}(?:\.seized)?")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(eq=False)
class _LogFile:
    """The file of an answer that this process writes. One that could not be written is broken, and empty."""

    fence: int
    transcript: Transcript
    written_to: int  # position
    path: str
    is_broken: bool = False
    is_gone: bool = False  # it was seized


class Journal:
    """The logs of the answers that this process writes, and those that others have left in the same directory.

    If a log cannot be written, its answer goes on all the same, and is not continued after a crash.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = _read_boot()
        self._logs: dict[str, _LogFile] = {}
        self._try_again_at = self._failure_logged_at = 0.0

    # The owner's side

    def begin(self, answer: str, fence: int, transcript: Transcript, start: int) -> None:
        """Begin the log of an owner, which has the transcript from `start` on."""
        self._logs[answer] = file = _LogFile(fence, transcript, start, "")
        self._create(answer, file, start)

    def write(self, answer: str) -> None:
        """Write what the transcript has beyond the log. No disk is waited for: this costs some microseconds."""
        file = self._logs[answer]
        if file.is_gone or file.transcript.position == file.written_to:
            return
        if not file.is_broken:
            self._append(file)
        elif time.monotonic() > self._try_again_at:
            broken = file.path
            self._create(answer, file, file.transcript.start)
            if file.is_broken:  # again: the old, empty file stays as the sign of that, and the new one is removed
                file.path, broken = broken, file.path
            _remove(broken)

    def end(self, answer: str) -> None:
        """Forget a log and delete it: the database has the end of its answer."""
        _remove(self._logs.pop(answer).path)

    def leave(self, answer: str) -> None:
        """Forget a log, and leave what there is of it."""
        self._logs.pop(answer)

    def _create(self, answer: str, file: _LogFile, start: int) -> None:
        file.path = f"{self._directory}/{answer}.{file.fence}.{token_hex(8)}"
        file.written_to, file.is_broken = start, False
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            _write(file.path, f"{self._boot} {start}\n".encode() + _make_entry(file), os.O_CREAT | os.O_EXCL)
            file.written_to = file.transcript.position
        except OSError as error:
            self._note_failure(file, error)

    def _append(self, file: _LogFile) -> None:
        try:
            _write(file.path, _make_entry(file))
            file.written_to = file.transcript.position
        except FileNotFoundError:
            file.is_gone = True
        except OSError as error:
            self._note_failure(file, error)

    def _note_failure(self, file: _LogFile, error: OSError) -> None:
        """Truncate a log that cannot be written, which a full disk allows: its answer is then not continued."""
        file.is_broken = True
        with suppress(OSError):
            os.truncate(file.path, 0)
        now = time.monotonic()
        self._try_again_at = now + TRY_AGAIN_AFTER
        if not self._failure_logged_at or now > self._failure_logged_at + FAILURE_LOGGED_EVERY:
            self._failure_logged_at = now
            log.warning(
                "the journal cannot be written (%s): answers are not continued after a crash", error.strerror or error
            )

    # Taking over

    def seize(self, answer: str, fence: int, after: int) -> Sequence[Lasting] | None:
        """See `chat.broker.base.Broker.seize`. Without a file nothing was shown."""
        paths = self._list()
        found = [_seize(path) for path in self._find(answer, fence, paths)]
        if not found:
            is_later = bool(self._find(answer, ENDED, paths))
            return () if self._is_usable() and not is_later else None
        left = [whole for path in found if (whole := self._read(path, after)) is not None]
        return max(left, key=lambda taken: taken.position).read_since(after) if left else None

    def remove_left(self, answer: str, fence: int) -> None:
        """Delete what other owners have left of an answer, but for those with a higher fence."""
        for path in self._find(answer, fence, self._list_left()):
            _remove(path)

    def find_left(self) -> set[str]:
        """Return the answers of which there are files by other owners."""
        return {found[1] for path in self._list_left() if (found := _match_name(path))}

    def _list(self) -> list[str]:
        """Return the paths of all files, those of this process too: after a pause it may have to seize its own."""
        try:
            return [f"{self._directory}/{name}" for name in os.listdir(self._directory)]
        except OSError:
            return []

    def _list_left(self) -> list[str]:
        """Return the paths of the files that this process does not write."""
        listed = self._list()  # first: a file that is made meanwhile is not among them
        own = {file.path for file in list(self._logs.values())}
        return [path for path in listed if path not in own]

    def _find(self, answer: str, fence: int, paths: Sequence[str]) -> list[str]:
        """Return those of the paths that are files of an answer by owners whose fence is not higher."""
        names = [(path, name) for path in paths if (name := _match_name(path))]
        return [path for path, name in names if name[1] == answer and int(name[2] or 0) <= fence]

    def _is_usable(self) -> bool:
        """Return whether a log could be written here; a directory that is not there yet was not needed yet."""
        if self._directory.exists():
            return os.access(self._directory, os.W_OK | os.X_OK)
        return os.access(self._directory.parent, os.W_OK | os.X_OK)

    def _read(self, path: str, after: int) -> Transcript | None:
        """Return what a file has after a position; None when it does not tell all that was shown."""
        try:
            first, *lines = Path(path).read_bytes().split(b"\n")[:-1]
            boot, _ = first.decode().split(" ")
            taken = Transcript(after)
            for line in lines:
                position, _, events = line.partition(b" ")
                if int(position) > after and not extend(taken, int(position), decode(events)):
                    return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return taken if boot == self._boot else None


def _match_name(path: str) -> re.Match[str] | None:
    return _NAME.fullmatch(os.path.basename(path))


def _make_entry(file: _LogFile) -> bytes:
    """Return the line for what the log lacks; nothing where it lacks nothing."""
    transcript = file.transcript
    if transcript.position == file.written_to:
        return b""
    return b"%d %s\n" % (transcript.position, encode(transcript.read_since(file.written_to)))


def _write(path: str, data: bytes, flags: int = 0) -> None:
    """Write all of it at the end of a file.

    It is opened each time: to keep it open would save a microsecond, and take one more of the process's descriptors.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError("the disk is full")
    finally:
        os.close(descriptor)


def _seize(path: str) -> str:
    """Take a file from its owner, and return its path."""
    if path.endswith(SEIZED):
        return path
    with suppress(OSError):  # another process was quicker
        os.rename(path, path + SEIZED)
    return path + SEIZED


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _read_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
