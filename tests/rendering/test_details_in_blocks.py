"""Details in an item of a list or in a quote are closed as they are outside, with Markdown in them."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import render, render_snapshot
from chat.rendering.joint import JOINT
from tests.rendering.test_mixed_answers import assert_balanced
from tests.support.streamed import read_words, render_inside, stream_pieces

DETAILS = [
    "<details><summary>More</summary>text **bold**</details>",
    "<details>\n<summary>More</summary>\n\ntext **bold**\n\n</details>",
    "<details>\n<summary>\nMore\n</summary>\ntext **bold**\n</details>",
    "<DETAILS>\n<SUMMARY>More</SUMMARY>\ntext **bold**</DETAILS>",
]
AROUND = {
    "item": ("- ", "  ", "- one\n\n", "\n- two"),
    "under an item": ("  ", "  ", "- one\n", "\n- two"),
    "numbered": ("   ", "   ", "9. one\n\n", "\n\n10. two"),
    "nested": ("    ", "    ", "- a\n  - one\n", "\n  - two"),
    "quote": ("> ", "> ", "", "\n\ntwo"),
    "in a quote": ("> ", "> ", "> one\n", "\n> two"),
    "item in a quote": (">   ", ">   ", "> - one\n", "\n> - two"),
    "tabs": ("\t", "\t", "- one\n", "\n- two"),
}


def indent(text: str, first: str, further: str) -> str:
    return first + f"\n{further}".join(text.split("\n"))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("details", DETAILS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_details_are_closed_at_every_moment(details: str, around: str, end: str) -> None:
    first, further, before, after = AROUND[around]
    text = (before + indent(details, first, further) + after).replace("\n", end)
    *growing, shown = stream_pieces(text)
    assert_balanced(shown)
    [inside] = re.findall("<details><summary>More</summary>(.*)</details>", shown, re.DOTALL)
    assert inside.strip() == "<p>text <strong>bold</strong></p>"
    for each in growing:
        assert_balanced(each)
        assert "&lt;" not in each
        assert "<details open>" not in each
        assert "text" not in each or "bold" in each


@pytest.mark.parametrize("before", ["-\n  ", "1.\n   ", "> -\n>   ", "- -\n    ", ">\n> "])
def test_an_item_or_quote_that_was_empty_so_far_keeps_them(before: str) -> None:
    *_, shown = stream_pieces(f"{before}<details><summary>More</summary>text</details>")
    assert re.search(r"<(?:li|blockquote)>\s*<details><summary>More</summary>\s*<p>text</p>", shown)


def test_what_follows_them_in_their_item_is_not_folded_away() -> None:
    html = render_inside("1. a\n   <details><summary>M</summary>\n\n   b\n   </details> c\n\n   d\n2. e")
    assert html.count("<ol>") == 1
    assert html.index("</details>") < html.index("<p>c</p>") < html.index("<p>d</p>") < html.index("<li>e")


def test_details_in_blocks_may_contain_code_lists_and_details() -> None:
    code = "```py\nx = 1\n</details>\n\ny\n```"
    inside = f"{code}\n\n- a\n- b\n\n<details>\n<summary>Deep</summary>\n\n`</details>`\n</details>"
    text = f"<details>\n<summary>**M** `c`</summary>\n\n{inside}\n\n</details>"
    html = render(indent(text, "- ", "  ") + "\n- next")
    assert html.count("<details>") == html.count("</details>") == 2
    assert "<summary><strong>M</strong> <code>c</code></summary>" in html
    assert html.count("<ul>") == 2
    assert html.endswith("</details></li><li>next</li></ul></div>")
    assert "<code>&lt;/details&gt;</code>" in html


def test_open_details_in_blocks_are_open_and_grow() -> None:
    *growing, shown = stream_pieces("- a\n  <details open>\n  <summary>More</summary>\n\n  one\n\n  two\n  </details>")
    assert "<details open><summary>More</summary>" in shown
    assert any("one</p>" in each and "two" not in each for each in growing)


@pytest.mark.parametrize(
    "text",
    [
        "- <details>\n  <summary>More</summary>\n  text\n- b",
        "> <details><summary>More</summary>\n> text\n\nb",
        "1. a\n   - <details><summary>More</summary>\n     text\n2. b\n\n   </details>",
    ],
)
def test_what_is_never_closed_is_open(text: str) -> None:
    html = render(text)
    assert re.search(r"<details open><summary>More</summary>\s*<p>text</p>\s*</details>", html)
    assert html.endswith(("<p>b</p></div>", "b</li></ul></div>", "&lt;/details&gt;</li></ol></div>"))


@pytest.mark.parametrize(
    "text",
    [
        "- <details>\n\n  text\n  </details>",
        "- a <details><summary>x</summary>y</details>",
        "> <details onclick='x'><summary>x</summary>\n> y\n> </details>",
        "- <summary>x</summary>",
        "> </details>",
        "- ```\n  <details><summary>x</summary>y</details>\n  ```",
        "-     <details><summary>x</summary>y</details>",
        "> `<details><summary>x</summary>y</details>`",
        "- <!--\n  <details><summary>x</summary>y</details>\n  -->",
        "- \ufdd4 x \ufdd6\n  \ufdd7\n  <detailsx>",
    ],
)
def test_other_tags_stay_text(text: str) -> None:
    for shown in stream_pieces(text):
        assert "<details" not in shown
        assert "<summary" not in shown
        assert_balanced(shown)
    assert "&lt;" in shown


def test_code_that_grows_in_an_item_is_one_block() -> None:
    html = render_snapshot("1. Step:\n   ```python\n   a = 1\n   b")
    assert html.count('class="code"') == html.count("<pre>") == 1
    assert read_words(html) == "Step:pythonCopya = 1\nb\n"


@pytest.mark.parametrize("around", AROUND)
def test_a_continued_answer_may_be_cut_in_them(around: str) -> None:
    first, further, before, after = AROUND[around]
    for details in DETAILS:
        text = before + indent(details, first, further) + after
        for cut in range(len(text)):
            marked = render(text[:cut] + JOINT + text[cut:])
            assert marked.replace(JOINT, "") == render(text)
            assert marked.count(JOINT) == 1


# Longer than an item or a quote is rendered again and again for: what is left of it makes other blocks.
LONG = [f"Paragraph {number} with **some** words that go on for a while, and more of them." for number in range(130)]
IN_CODE = ["```", "</details>", "```"]


def put_in(first: str, further: str, lines: list[str]) -> str:
    return "\n".join([first + lines[0], *(f"{further}{line}".rstrip() for line in lines[1:])])


@pytest.mark.parametrize(("first", "further"), [("- ", "  "), ("10. ", "    "), ("> ", "> "), ("- > ", "  > ")])
def test_the_end_of_long_ones_is_no_text_and_what_follows_is_not_folded_away(first: str, further: str) -> None:
    lines = ["<details><summary>M</summary>", "", *(line for each in LONG for line in (each, "")), *IN_CODE, ""]
    before = put_in(first, further, lines)
    text = f"{before}\n{further}</details>\n{further.rstrip()}\n{further}after\n\nend"
    html = render(text)
    assert_balanced(html)
    assert html.count("&lt;/details&gt;") == 1  # in the code
    assert html.count("</details>") == 1
    assert html.index("</details>") < html.index("after")
    for size in range(len(before), len(before) + 40):
        growing = render_snapshot(text[:size])
        assert_balanced(growing)
        assert growing.count("&lt;/") == 1
