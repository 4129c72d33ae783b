"""docs/architecture.md and CONTRIBUTING.md name files, functions and classes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/architecture.md", "CONTRIBUTING.md")

IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w./-]+/[\w.-]+\.(?:py|md|js|toml|html)|[a-z_]+\.py")
NAME = re.compile(r"(?:[\w.]+\.)?(\w+_\w+|[A-Z]\w*[a-z]\w*\.\w+)")
ROOMS = ("", "chat", "docs", "chat/broker", "chat/providers", "chatsite", "static/chat")


def list_quoted(document: str) -> list[str]:
    return IN_BACKTICKS.findall((ROOT / document).read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_that_is_named_exists(document: str) -> None:
    named = [quoted for quoted in list_quoted(document) if FILE.fullmatch(quoted)]
    files = {path.name for room in ("chat", "chatsite") for path in (ROOT / room).rglob("*.py")}
    missing = [name for name in named if name not in files and not any((ROOT / room / name).exists() for room in ROOMS)]
    assert named
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_function_and_class_that_is_named_exists(document: str) -> None:
    sources = (path for room in ("chat", "chatsite", "tests") for path in (ROOT / room).rglob("*.py"))
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    named = [quoted for quoted in list_quoted(document) if NAME.fullmatch(quoted)]
    missing = [name for name in named if not set(re.findall(r"\w+", name)) <= words]
    assert not missing
