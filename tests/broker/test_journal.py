"""What readers were shown of an answer outlives its process in the journal, to the last character, or is not known."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from chat.broker import journal as journals
from chat.broker.journal import Journal
from chat.broker.memory import MemoryBroker
from chat.core.events import Done, Event, Reasoning, Token, ToolArguments, ToolCall, ToolResult, Usage
from chat.core.transcript import Transcript

ANSWER, OTHER = "01234567-89ab-cdef-0123-456789abcdef", "fedcba98-7654-3210-fedc-ba9876543210"
SAID: list[Event] = [
    Reasoning("Let me see.\n"),
    ToolCall("call_1", "double"),
    ToolArguments("call_1", '{"number": 21}'),
    ToolResult("call_1", "42", ok=True, milliseconds=3),
    Token("Zoë \U0001f469\u200d\U0001f467 says 42.\n"),
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "answers"


class Owner:
    """One process, and the answer that it writes."""

    def __init__(
        self, directory: Path, transcript: Transcript | None = None, joint: int | None = None, fence: int = 1
    ) -> None:
        self.broker = MemoryBroker(Journal(directory))
        self.fence = fence
        self.transcript = transcript or Transcript()
        self.joint = joint

    async def begin(self, answer: str = ANSWER) -> None:
        await self.broker.open(answer, self.fence, self.transcript, self.joint)

    async def say(self, *events: Event) -> None:
        self.transcript.append(events)
        await self.broker.publish(ANSWER, self.fence)

    async def end(self) -> None:
        await self.broker.close(ANSWER, self.fence, Usage(1, 1), Done("complete", "stop"))


@pytest.fixture
async def owner(directory: Path) -> Owner:
    owner = Owner(directory)
    await owner.begin()
    return owner


async def seize(directory: Path, after: int = 0) -> Sequence[Event] | None:
    """Return the events beyond `after` that another process finds when it takes the answer over from its owner."""
    return await MemoryBroker(Journal(directory)).seize(ANSWER, 2, after)


def list_journal_files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


@contextmanager
def simulate_full_disk() -> Iterator[None]:
    """Let no file grow beyond 80 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_all_that_was_shown_is_found_from_every_position(owner: Owner, directory: Path) -> None:
    for event in SAID:
        await owner.say(event)
    for after in range(owner.transcript.position + 1):
        assert await seize(directory, after) == owner.transcript.read_since(after)


async def test_text_that_an_answer_began_with_beyond_the_database_is_found(directory: Path) -> None:
    transcript = Transcript()
    transcript.append([Token("kept, and not yet")])
    owner = Owner(directory, transcript, joint=4)
    await owner.begin()
    assert await seize(directory, 4) == [Token(", and not yet")]


async def test_the_journal_is_written_before_text_is_shown(owner: Owner, directory: Path) -> None:
    async with owner.broker.follow(ANSWER, 0) as following:
        for number in range(20):
            await owner.say(Token(f"{number} "))
            batch = await following.read_next(1)
            assert batch is not None
            [path] = list_journal_files(directory)
            assert f"{number} " in path.read_text().splitlines()[-1]


async def test_a_torn_last_line_was_never_shown(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    [path] = list_journal_files(directory)
    whole = path.read_bytes()
    await owner.say(Token("two"))
    longer = path.read_bytes()
    for size in range(len(whole), len(longer)):
        [path] = list_journal_files(directory)
        path.write_bytes(longer[:size])
        assert await seize(directory) == [Token("One ")]


@pytest.mark.parametrize("content", [b"", b"other-boot 0\n4 []\n", b"nonsense\n", b"\xff\n", b"{boot} 0\nx []\n"])
async def test_a_file_that_does_not_say_it_leaves_it_unknown(content: bytes, owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    [path] = list_journal_files(directory)
    boot = path.read_bytes().partition(b" ")[0]
    path.write_bytes(content.replace(b"{boot}", boot))
    assert await seize(directory) is None


async def test_a_line_that_is_missing_leaves_it_unknown(owner: Owner, directory: Path) -> None:
    for word in ("One ", "two ", "three"):
        await owner.say(Token(word))
    [path] = list_journal_files(directory)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert await seize(directory) is None


async def test_an_answer_without_a_journal_file_showed_nothing(owner: Owner, directory: Path) -> None:
    assert await MemoryBroker(Journal(directory)).seize(OTHER, 2, 5) == ()


async def test_without_a_journal_what_was_shown_is_unknown() -> None:
    assert await MemoryBroker().seize(ANSWER, 2, 5) is None


async def test_only_the_user_of_the_site_may_read_it(owner: Owner, directory: Path) -> None:
    await owner.say(Token("secret"))
    assert [
        path.stat().st_mode & 0o777 for path in (*list_journal_files(directory.parent), *list_journal_files(directory))
    ] == [0o700, 0o600]


async def test_nothing_is_left_of_an_answer_that_has_ended(owner: Owner, directory: Path) -> None:
    await owner.say(Token("secret"))
    await owner.end()
    assert list_journal_files(directory) == []


async def test_writes_of_a_late_owner_reach_no_file(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    assert await seize(directory) == [Token("One ")]
    taker = Owner(directory, Transcript.restore("One ", "", [("token", 4)]))
    await taker.begin()
    await taker.broker.forget(ANSWER)
    await owner.say(Token("late"))
    await taker.say(Token("two"))
    await owner.end()
    assert await seize(directory, 4) == [Token("two")]


async def test_a_process_that_was_paused_finds_its_own_journal(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    assert await owner.broker.seize(ANSWER, 2, 0) == [Token("One ")]
    await owner.say(Token("late"))
    assert await seize(directory) == [Token("One ")]


async def test_the_file_of_the_later_of_two_owners_counts(owner: Owner, directory: Path) -> None:
    """The process that took the answer over died before it could forget what it had seized."""
    await owner.say(Token("One "))
    await seize(directory)
    taker = Owner(directory, Transcript.restore("One ", "", [("token", 4)]))
    await taker.begin()
    await taker.say(Token("two"))
    assert await seize(directory, 4) == [Token("two")]
    assert await seize(directory, 4) == [Token("two")]


async def test_logs_left_by_others_are_found_and_forgotten(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    other = Owner(directory)
    await other.begin(OTHER)
    assert await owner.broker.find_left() == {OTHER}
    (directory / "readme").write_text("not ours")
    await owner.broker.forget(OTHER)
    await owner.broker.forget(ANSWER)
    assert len(list_journal_files(directory)) == 2
    assert await seize(directory) == [Token("One ")]


async def test_who_was_paused_in_a_sweep_leaves_the_file_of_a_later_owner_alone(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    paused = MemoryBroker(Journal(directory))
    later = Owner(directory, Transcript.restore("One ", "", [("token", 4)]), fence=3)
    await later.begin()
    await later.broker.forget(ANSWER, 3)
    await later.say(Token("two "))
    assert await paused.seize(ANSWER, 2, 0) is None
    await paused.forget(ANSWER, 2)
    await later.say(Token("three"))
    assert await MemoryBroker(Journal(directory)).seize(ANSWER, 4, 4) == [Token("two three")]


async def test_a_file_of_the_version_before_is_seized_too(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    [path] = list_journal_files(directory)
    path.rename(directory / path.name.replace(f"{ANSWER}.1.", f"{ANSWER}."))
    assert await seize(directory) == [Token("One ")]
    await MemoryBroker(Journal(directory)).forget(ANSWER)
    assert list_journal_files(directory) == []


async def test_a_log_that_was_given_up_stays_until_it_is_forgotten(owner: Owner, directory: Path) -> None:
    await owner.say(Token("One "))
    await owner.broker.give_up(ANSWER, 1)
    assert await owner.broker.find_left() == {ANSWER}
    await owner.broker.forget(ANSWER)
    assert list_journal_files(directory) == []


async def test_a_full_disk_costs_an_answer_nothing_and_leaves_it_unknown(
    owner: Owner, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journals, "TRY_AGAIN_AFTER", 0)
    await owner.say(Token("One "))
    async with owner.broker.follow(ANSWER, 0) as following:
        with simulate_full_disk():
            for _ in range(3):
                await owner.say(Token("two " * 20))
            batch = await following.read_next(1)
            assert batch is not None
            assert list(batch.events) == [Token("One " + "two " * 60)]
            assert [path.stat().st_size for path in list_journal_files(directory)] == [0]
    left = directory.parent / "left"
    left.mkdir()
    (left / list_journal_files(directory)[0].name).touch()
    assert await seize(left) is None
    assert len(caplog.messages) == 1
    # The disk has room again: so has the log, for all of it.
    await owner.say(Token("three"))
    assert await seize(directory) == [Token("One " + "two " * 60 + "three")]
    assert len(list_journal_files(directory)) == 1


async def test_a_directory_that_cannot_be_written_costs_an_answer_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers").write_text("a file")
    owner = Owner(tmp_path / "answers")
    await owner.begin()
    await owner.say(Token("One "))
    async with owner.broker.follow(ANSWER, 0) as following:
        batch = await following.read_next(1)
        assert batch is not None
        assert list(batch.events) == [Token("One ")]
    await owner.end()
    assert len(caplog.messages) == 1


async def test_the_journal_holds_no_file_open(directory: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    owners = [Owner(directory) for _ in range(50)]
    await asyncio.gather(
        *(owner.begin(f"01234567-89ab-cdef-0123-4567{number:08x}") for number, owner in enumerate(owners))
    )
    assert len(list_journal_files(directory)) == 50
    assert len(os.listdir("/proc/self/fd")) == before
