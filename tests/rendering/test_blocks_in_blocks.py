"""Blocks in lists and quotes (code with blank lines, tables, raw HTML, more lists) look as the parser shows the whole
text, though the text is rendered piece by piece; streamed and loaded alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unittest import mock

import pytest

from chat.rendering import fold
from chat.rendering.document import render
from chat.rendering.html import convert_to_html
from tests.support.markdown_streams import stream
from tests.support.markdown_texts import write_markdown_texts

TEXTS = list(write_markdown_texts(2_000, seed=15))


def remove_meant_differences(html: str) -> str:
    """Return HTML without the differences that are meant: an item is loose by itself, whatever its neighbours are, and
    spaces outside of code do not count.
    """
    html = re.sub(r"</?p>|<tbody></tbody>", "", html)
    parts = re.split(r"(<pre>.*?</pre>)", html, flags=re.DOTALL)
    return "".join(part if part.startswith("<pre>") else re.sub(r"\s+", "", part) for part in parts)


@pytest.fixture
def in_one_stretch() -> Iterator[None]:
    """Nothing is cut for its length."""
    with mock.patch.multiple(fold, STRETCH_CHARS=10**9, LEAF_COST=10**9):
        yield


def assert_whole(text: str) -> None:
    source = re.sub("\r\n?", "\n", text)
    whole = convert_to_html(
        source if source.endswith("\n") else f"{source}\n"
    )  # else comrak takes a last line `1.` for text
    assert remove_meant_differences(render(text)) == remove_meant_differences(f'<div class="stretch">{whole}</div>'), (
        text
    )


STEP = "1. Step:\n   ```python\n   a = 1\n\n   b = 2\n   ```\n2. Next"


@pytest.mark.parametrize(
    "text",
    [
        STEP,
        STEP.replace("```", "~~~"),
        STEP.replace("\n", "\r\n"),
        STEP.replace("\n\n", "\n\n\n\n"),
        STEP.replace("\n\n", "\n   \n"),
        STEP.replace("\n   ```\n", "\n"),  # the fence is never closed
        STEP.replace("\n2. Next", "\n\n   More\n\n2. Next"),
        "- a\n  - b\n    ```\n    x\n\n    y\n    ```\n  - c\n- d",
        "- ```\n\n\n- b",
        "- a\n\n      code\n\n\n      more\n\nend",
        "> ```\n> x\n>\n> y\n> ```\n\nend",
        "> - ```\n>   x\n>\n>   y\n\nend",
        "1. a\n\n   | b |\n   |---|\n   | c |\n\n2. d",
        "- <div>\n\n  a\n\n- b",
        "-\n\n  not in it\n- b",
        "10.   1.\n11. b",
    ],
)
def test_code_in_an_item_keeps_its_empty_lines(text: str) -> None:
    assert_whole(text)
    stream(text)


def test_numbered_steps_with_code_are_one_list() -> None:
    html = render(STEP)
    assert html.count("<ol") == html.count('class="code"') == 1
    assert html.count("<li>") == 2
    assert re.sub("<[^>]+>", "", html[html.index("<pre>") : html.index("</pre>")]) == "a = 1\n\nb = 2\n"


@pytest.mark.usefixtures("in_one_stretch")
def test_generated_texts_in_pieces_are_the_whole() -> None:
    for text in TEXTS:
        assert_whole(text)


def test_generated_texts_stream_as_they_load() -> None:
    for text in sorted(TEXTS, key=len)[300:1400:30]:
        stream(text)
