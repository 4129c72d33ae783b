"""Details are closed as a model wrote them, with Markdown in them; nothing is hidden for good."""

from __future__ import annotations

import time

import pytest

from chat.rendering.document import StreamingMarkdown, render
from chat.rendering.joint import JOINT
from tests.support.streamed import render_inside, stream_pieces

FOLDED = [
    "<details><summary>More</summary>text</details>",
    "<details>\n<summary>More</summary>\n\ntext\n\n</details>",
    "<details>\n<summary>\nMore\n</summary>\ntext\n</details>",
    "<details>\n\n<summary>More</summary>text</details>",
    "<DETAILS><SUMMARY>More</SUMMARY>\ntext\n</DETAILS>",
]


def make_details(text: str, summary: str = "More") -> str:
    return f'<details><summary>{summary}</summary><div class="stretch">{text}</div></details>'


@pytest.mark.parametrize("text", FOLDED)
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("one\n\n", "\n\ntwo"), ("one\n", "\ntwo"), ("- one\n", "\n- two")]
)
def test_details_are_closed_at_every_moment(text: str, before: str, after: str) -> None:
    *growing, shown = stream_pieces(f"{before}{text}{after}")
    assert make_details("<p>text</p>") in shown
    assert "&lt;" not in shown
    assert not any("&lt;" in each or "<details open>" in each for each in growing)


def test_markdown_in_details_is_rendered() -> None:
    text = "**bold**\n\n- a\n- b\n\n| x |\n|---|\n| y |\n\n```py\nz = 1\n```"
    assert render_inside(
        f"<details>\n<summary>**M** `c` <kbd>k</kbd></summary>\n\n{text}\n\n</details>"
    ) == make_details(render_inside(text), "<strong>M</strong> <code>c</code> <kbd>k</kbd>")


def test_a_closing_tag_in_code_does_not_close_details() -> None:
    text = "```html\n</details>\n```\nand `</details>` too"
    assert (
        render_inside(f"<details>\n<summary>More</summary>\n{text}\n</details>\nafter")
        == make_details(render_inside(text)) + "<p>after</p>"
    )


def test_details_may_contain_details() -> None:
    text = f"one\n{FOLDED[1]}\ntwo"
    assert render_inside(f"<details>\n<summary>More</summary>\n{text}\n</details>") == make_details(
        f"<p>one</p>{make_details('<p>text</p>')}<p>two</p>"
    )


def test_open_details_are_open_and_grow() -> None:
    *growing, shown = stream_pieces("<details open>\n<summary>More</summary>\none\n\ntwo\n</details>")
    assert "<details open><summary>More</summary>" in shown
    assert any("<p>one</p>" in each and "two" not in each for each in growing)


def test_details_that_never_end_are_open() -> None:
    assert render_inside("<details>\n<summary>More</summary>\ntext").startswith("<details open>")


@pytest.mark.parametrize(
    "text",
    [
        "the tag\n<details>\nhides text",
        "<details>",
        "<details>\n\ntext\n\n</details>",
        "use <details><summary>x</summary> here",
        "<details onclick='x'><summary>x</summary>y</details>",
        "<details id=x>\n<summary>x</summary>\ny\n</details>",
        "<summary>x</summary>",
        "</details>",
        f"<details>\n<summary>{'x' * 2000}</summary>\ny\n</details>",
    ],
)
def test_other_tags_stay_text(text: str) -> None:
    for shown in stream_pieces(text[start : start + 7] for start in range(0, len(text), 7)):
        assert "<details" not in shown
        assert "<summary" not in shown
    assert "&lt;" in shown


@pytest.mark.parametrize("before", [">\n", "- a\n\n", "1. a\n\n  - b\n\n", "| a |\n|---|\n\n", "word\n\n"])
def test_text_before_details_is_not_sealed_until_they_open(before: str) -> None:
    for _ in stream_pieces(f"{before}<details open><summary>\ng goes on\n\nand on\n"):
        continue


def test_long_details_are_continued_in_others() -> None:
    paragraphs = "".join(f"paragraph {number}\n\n" for number in range(4000))
    text = f"<details>\n<summary>More</summary>\n\n{paragraphs}</details>\nafter"
    html = render_inside(text)
    assert html.count("<details>") == html.count("</details>") > 2
    assert all(f"<p>paragraph {number}</p>" in html for number in (0, 1999, 3999))
    assert html.endswith("<p>after</p>")


@pytest.mark.parametrize(
    "text",
    [
        "<details>\n<summary>a</summary>\n" * 4000,
        "<details><summary>a</summary>" * 4000,
        "<details>\n" * 20_000,
        "<details>\n<summary>a\n" * 8000,
        "<details>\n<summary>a</summary>\n" + "word " * 40_000,
        "<details open>\n<summary>a</summary>\n" + "word\n" * 20_000,
        "<details><summary>a</summary>b</details>\n" * 4000,
        "</details>\n" * 10_000,
    ],
    ids=["nested", "one line", "openings", "summaries", "one paragraph", "open lines", "many", "ends"],
)
def test_a_hostile_text_costs_little(text: str) -> None:
    started = time.perf_counter()
    streaming = StreamingMarkdown()
    for start in range(0, len(text), 2000):
        streaming.feed(text[start : start + 2000])
        streaming.take_changes()
    streaming.finish()
    streaming.take_changes()
    render(text)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        "<details>\n<summary>Mo|re</summary>\ntext\n</details>\nz",
        "<details>\n<summary>More</summary>\nte|xt\n</details>",
        "<details>\n<summary>More</summary>\n1. a\n   `|``py\n   x\n   ```\n~~b~~ </details>\nc",
        "<det|ails><summary>More</summary>```\nx\n</details>\n```\n</details>",
    ],
)
def test_a_continued_answer_may_be_cut_in_details(text: str) -> None:
    before, _, after = text.partition("|")
    marked = render(before + JOINT + after)
    assert marked.replace(JOINT, "") == render(before + after)
    assert marked.count(JOINT) == 1
