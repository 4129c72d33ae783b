"""A formula between `$$` or `\\[` on lines of its own is one formula, whatever its lines look like."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import render, render_snapshot
from tests.support.markdown_streams import stream

FORMULAS = (
    "$$\na\n=\nb\n$$",
    "\\[\nE\n=\nmc^2\n\\]",
    "$$\nx\n- y\n$$",
    "$$\nx\n+ y\n---\nz\n$$",
    "$$\n1. x\n# y\n> z\n$$",
    "$$ a\n= b $$",
    "\\[ a\n- b \\]",
    "$$\nf(x) = \\begin{cases}\n1 & a \\\\\n- 1 & b\n\\end{cases}\n$$",
    "$$\na % why\n- b\n$$",
)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", "Text:\n", "Text:\n\n", "- item\n\n", "# Head\n"])
def test_its_lines_are_one_formula(formula: str, before: str) -> None:
    text = f"{before}{formula}\n\nEnd"
    html = render(text)
    assert len(re.findall('<math[^>]*display="block"', html)) == 1
    assert not re.search("<h2|<hr|<ol|<blockquote", html)
    assert html.count("<ul>") == before.count("- ")
    assert "$" not in html
    stream(text)


def test_a_formula_stands_in_an_item() -> None:
    text = "1. Step\n\n   $$\n   a\n   - b\n   $$\n\n2. $$\n   c\n   = d\n   $$\n3. Next"
    html = render(text)
    assert html.count("<ol>") == html.count("</ol>") == 1
    assert html.count("<li>") == 3
    assert html.count("<math") == 2
    stream(text)


@pytest.mark.parametrize("formula", FORMULAS)
def test_none_of_its_lines_shows_while_it_grows(formula: str) -> None:
    text = f"Text:\n\n{formula}"
    for end in range(len("Text:\n\n"), len(text) - 2):
        assert re.sub("<[^>]*>", "", render_snapshot(text[:end])).strip() == "Text:"


@pytest.mark.parametrize(
    "text",
    [
        "$$\nx\n\n- item\n\nEnd",
        "$$\nx\n- item",
        "\\[ text\n- item",
        "\\[not a link]\n- item",
        "```\n$$\n```\n- item",
        "    $$\n\n- item",
        "$$\n" + "word " * 500 + "\n- item",
        "$$\n" + "word\n" * 1000 + "- item",
    ],
)
def test_a_formula_that_is_not_closed_is_text(text: str) -> None:
    assert "<li>item</li>" in render(text)
    assert "<math" not in render(text)
    stream(text[start : start + 7] for start in range(0, len(text), 7))


@pytest.mark.parametrize(
    "text", ["$$\n$$", "1. $$\n   $$\n   a", "$$\n$$.\n", "$$\n  \n$$", "11. $$\n    $$\n    <div>\n"]
)
def test_an_empty_formula_is_shown_line_by_line(text: str) -> None:
    html = render(text)
    assert len(re.findall(r"(?:>|\n)\$\$", html)) == 2
    assert "<math" not in html
    stream(text)


@pytest.mark.parametrize(
    "text",
    [
        "- $$\n- b $$",
        "-  $$\n-     7. $$",
        "1. $$\n2. x\n$$",
        "1. a\n\n   $$\n2. b\n   $$",
        "- $$\n  - b\n  - $$",
        "- a\n  - \\[\n- b\n\\]",
    ],
)
def test_the_next_item_does_not_belong_to_it(text: str) -> None:
    html = render(text)
    assert "<math" not in html
    assert html.count("<li>") == len(re.findall(r"^ *(?:-|\d\.) ", text, re.M))
    stream(text)


def test_a_quote_does_not_close_a_formula() -> None:
    text = "> - a\n    1. $$\n> \n>     $$\n> - b"
    assert "<math" not in render(text)
    stream(text)
