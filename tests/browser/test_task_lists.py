"""A task's box stands left of all lines of its task, on the line of the first."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from playwright.sync_api import Page

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

WORDS = "reload the page in the middle of an answer, and look whether all that had come is still there " * 3
TEXTS = {
    "tight": f"- [ ] {WORDS}\n- [x] {WORDS}\n",
    "loose": f"- [ ] {WORDS}\n\n- [x] {WORDS}\n",
    "nested": f"- a\n  - [ ] {WORDS}\n",
    "numbered": f"1. [ ] {WORDS}\n",
}

# The box and each line of words in the item of each box.
FIND = """() => [...document.querySelectorAll(".answer .text .task")].map(box => {
    const range = document.createRange(), { right, top, bottom } = box.getBoundingClientRect();
    const text = box.nextElementSibling?.firstChild ?? box.nextSibling;
    range.selectNodeContents(text);
    const lines = [...range.getClientRects()].filter(line => line.width > 20);
    return { right, top, bottom, lines: lines.map(({ left, top, bottom }) => ({ left, middle: (top + bottom) / 2 })) };
})"""


class Place(NamedTuple):
    """A task's box, and the lines of its words; in CSS pixels."""

    right: float
    top: float
    bottom: float
    lines: list[dict[str, float]]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_box_is_left_of_all_lines(page: Page, provider: ProviderServer, text: str) -> None:
    provider.script = Script(text=text)
    ask(page)
    expect_foot(page, "complete")
    places = [Place(**found) for found in page.evaluate(FIND)]
    assert len(places) == text.count("[")
    for place in places:
        assert len(place.lines) > 1
        assert place.top < place.lines[0]["middle"] < place.bottom
        assert all(line["left"] > place.right - 2 for line in place.lines)
