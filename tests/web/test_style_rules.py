"""Browsers drop a rule that they cannot read, and say nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.server import ROOT

SHEETS = sorted((ROOT / "static/chat").glob("*.css"))


def find_nested(text: str) -> list[str]:
    """Return the `:has()` that stand in another one, which CSS forbids, each with what follows."""
    found: list[str] = []
    depths: list[int] = []
    depth = 0
    for match in re.finditer(r":has\(|[()]", text):
        if match[0] == ")":
            depth -= 1
            depths = [each for each in depths if each <= depth]
            continue
        depth += 1
        if match[0] != "(":
            if depths:
                found.append(text[match.start() :][:60])
            depths.append(depth)
    return found


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_no_has_stands_in_another_one(sheet: Path) -> None:
    assert find_nested(sheet.read_text("utf-8")) == []


def test_a_has_in_another_one_is_found() -> None:
    assert find_nested(".a:has(+ .b:not(:has(a))) { color: red }") == [":has(a))) { color: red }"]
    assert find_nested(".a:not(:has(b)):has(c (d)) .e:has(f) {}") == []
