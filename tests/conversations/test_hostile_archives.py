"""An archive that is broken, enormous or made to do harm gets a clear sentence, in bounded memory and time."""

from __future__ import annotations

import io
import json
import random
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chat.conversations.exchange import splitter
from chat.conversations.exchange.chatgpt import read_conversation
from chat.conversations.exchange.portable import UnreadableError
from chat.conversations.exchange.splitter import MAX_BYTES, Splitter
from chat.conversations.exchange.tree import Node, assemble_tree
from chat.conversations.exchange.uploaded_archive import UploadedArchive
from tests.support.archives import pack, say

MEGABYTE = 1_000_000


def ignore() -> None:
    """Go on."""


def count(path: Path, content: bytes) -> int:
    file = path / "archive"
    file.write_bytes(content)
    return UploadedArchive(file, ignore).count()


def read(path: Path, content: bytes) -> list[Any]:
    file = path / "archive"
    file.write_bytes(content)
    return list(UploadedArchive(file, ignore).read())


def lock(content: bytes) -> bytes:
    """Mark the members of a ZIP as encrypted."""
    return content.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


def pack_with_method(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("conversations.json", "[]")
    return file.getvalue()


def pretend_directory(content: bytes, length: int) -> bytes:
    """Return a ZIP whose last record says that its table of contents has so many bytes."""
    place = content.rfind(b"PK\x05\x06")
    return content[: place + 12] + length.to_bytes(4, "little") + content[place + 16 :]


GOOD = pack({"conversations.json": [{"a": 1}, {"b": 2}]})

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "blanks": (b" \n", "empty"),
    "text": (b"Hello", "no JSON"),
    "a number": (b"17", "no JSON"),
    "utf-16": ("[]".encode("utf-16"), "no JSON"),
    "half a list": (b'[{"a": 1}, {"b"', "ends in the middle"),
    "half a text": (b'["a', "ends in the middle"),
    "two lists": (b"[][]", "no JSON"),
    "brackets that cross": (b'[{"a": [}]]', "no JSON"),
    "ten thousand levels": (b"[" * 10_000 + b"]" * 10_000, "more than 100 deep"),
    "ten thousand objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "more than 100 deep"),
    "half a zip": (GOOD[: len(GOOD) // 2], "broken"),
    "a zip's beginning": (b"PK", "broken"),
    "a broken member": (GOOD[:45] + b"\xff\xff\xff" + GOOD[48:], "broken"),
    "a zip without conversations": (pack({"chat.html": b"<p>"}), "no conversations.json"),
    "a way up": (pack({"../../conversations.json": []}), "outside of itself"),
    "a way from the root": (pack({"/etc/conversations.json": []}), "outside of itself"),
    "a way up in Windows": (pack({"..\\conversations.json": []}), "outside of itself"),
    "a password": (lock(GOOD), "password"),
    "lzma": (pack_with_method(zipfile.ZIP_LZMA), "plain ZIP"),
    "a table of contents of 3 GB": (pretend_directory(GOOD, 3_000_000_000), "too many files"),
    "a bomb": (pack({"conversations.json": b"[" + b" " * (40 * MEGABYTE)}), "times as long"),
    "many small bombs": (
        pack({f"conversations/{number}.json": b"[" + b" " * (2 * MEGABYTE) + b"]" for number in range(20)}),
        "times as long",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_that_cannot_be_read_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    begun = time.process_time()
    with pytest.raises(UnreadableError, match=words) as refused:
        count(tmp_path, content)
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 200
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"a": "\xff"}, {"b": 2}]', "not UTF-8"),
        (b'[{"a" 1}, {"b": 2}]', "no JSON"),
        (b'[{"a": tru}, {"b": 2}]', "no JSON"),
        (b'[{"a": ' + b"1" * 6000 + b'}, {"b": 2}]', ""),
        (b'[{"a": "' + b"x" * (MAX_BYTES + 1) + b'"}, {"b": 2}]', "MB"),
        (b"[{" + b'"a": [' + b"[]," * 5_000 + b'[]]}, {"b": 2}]', "MB"),
    ],
)
def test_one_conversation_that_cannot_be_read_leaves_the_others(
    tmp_path: Path, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitter, "MAX_CONTAINERS", 4_000)
    first, second = read(tmp_path, content)
    assert second == {"b": 2}
    assert words in str(first)
    assert isinstance(first, UnreadableError) or not words


def test_halves_of_characters_are_taken(tmp_path: Path) -> None:
    escaped = r'[{"a": "\ud83d", "b": "\ud83d\ude00", "c": "\udc00\\ud83d", "d": "\ud83d\u0041"}]'
    [value] = read(tmp_path, escaped.encode())
    assert value == {"a": "\ufffd", "b": "\U0001f600", "c": "\ufffd\\ud83d", "d": "\ufffdA"}


def test_an_archive_in_several_files_and_folders_is_read_in_order(tmp_path: Path) -> None:
    members = {f"export/conversations-00{number}.json": [{"n": number}] for number in (2, 0, 1)}
    assert read(tmp_path, pack({"user.json": {}, "chat.html": b"", **members})) == [{"n": 0}, {"n": 1}, {"n": 2}]
    noted = ("._conversations.json", "conversations/._a.json")
    notes = {f"__MACOSX/export/{name}": b"\x00\x05\x16\x07" for name in noted}
    assert read(tmp_path, pack({"export/conversations/a.json": {"n": 4}, **notes})) == [{"n": 4}]
    marked = b"\xef\xbb\xbf" + json.dumps([{"n": 3}]).encode()
    assert read(tmp_path, marked) == [{"n": 3}]


def test_a_long_archive_takes_the_memory_of_one_conversation(tmp_path: Path) -> None:
    one = json.dumps({"mapping": {str(n): {"parts": ["word " * 40]} for n in range(40)}}).encode()
    many = b"[" + b",".join([one] * 300) + b"]"
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("conversations.json", many)
    del many
    tracemalloc.start()
    try:
        found = sum(1 for _ in UploadedArchive(path, ignore).read())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == 300
    assert peak < MEGABYTE < len(one) * 300


def test_a_reading_ends_when_its_job_is_over(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"[" + b" " * MEGABYTE + b"]")

    def end() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        UploadedArchive(path, end).count()


def split(content: bytes, size: int) -> Iterator[bytes | None]:
    splitting = Splitter()
    for start in range(0, len(content), size):
        yield from splitting.feed(content[start : start + size])
    splitting.finish()


def make_value(chance: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: chance.choice(['a"b', "\\", '\\"', "{[", "é\n", "", ",", "}"]),
        lambda: chance.randrange(100),
        lambda: None,
        lambda: {chance.choice(["k", '"', "\\"]): make_value(chance, depth + 1) for _ in range(chance.randrange(3))},
        lambda: [make_value(chance, depth + 1) for _ in range(chance.randrange(3))],
    ]
    return chance.choice(kinds if depth < 4 else kinds[:3])()


def test_a_list_is_split_alike_wherever_its_pieces_end() -> None:
    chance = random.Random(7)
    for _ in range(300):
        value = [make_value(chance) for _ in range(chance.randrange(5))]
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])).encode()
        for size in (1, 2, 3, 7, len(text)):
            assert [json.loads(part or b"") for part in split(text, size)] == value, (text, size)


# Trees that are made to cost time


def test_long_chains_cost_time_in_proportion() -> None:
    entries = [say(f"m{n}", f"m{n - 1}", "assistant", "a") for n in range(5_000)]
    begun = time.process_time()
    found = read_conversation({"mapping": {entry["id"]: entry for entry in entries}})
    assert time.process_time() - begun < 5
    assert len(found.messages) == 2
    silent = [say(f"m{n}", f"m{n - 1}", "system", "") for n in range(5_000)]
    asked = [say(f"q{n}", f"m{n}", "user", "Q") for n in range(5_000)]
    begun = time.process_time()
    read_conversation({"mapping": {entry["id"]: entry for entry in (*reversed(silent), *asked)}})
    assert time.process_time() - begun < 8


def test_answers_that_fork_at_every_step_are_refused() -> None:
    steps = [Node(f"a{n}", f"a{n - 1}", "assistant") for n in range(5_000)]
    forks = [Node(f"q{n}", f"a{n}", "user", text="Q") for n in range(5_000)]

    with pytest.raises(UnreadableError, match="fork too often"):
        assemble_tree([*steps, *forks], None, Counter(), datetime.now(UTC))
