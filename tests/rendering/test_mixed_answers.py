"""Answers of everything at once: streamed in any pieces, and continued anywhere, they are the page that is loaded."""

# ruff: noqa: RUF001 - full-width punctuation is among it
from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering.document import render
from chat.rendering.joint import JOINT
from tests.support.streamed import stream_pieces

BLOCKS = (
    *("# Head **bold**\n\n", "Head\n===\n\n", "---\n\n", "Prose with `code` and *words*.\n\n", "two\nlines\n\n", "\n"),
    *(
        "- item\n",
        "- item\n\n",
        "  - nested\n",
        "1. one\n",
        "2. two\n\n",
        "   more of it\n\n",
        "- [x] done\n",
        "* * *\n",
    ),
    *(
        "1. Step:\n   ```python\n   a = 1\n\n   b = 2\n   ```\n",
        "```js\nlet x = 1;\n\n```\n",
        "~~~\nx\n~~~\n",
        "    code\n",
    ),
    *(
        "| a | b |\n|---|--:|\n| 1<br>2 | $x$ |\n",
        "| 3 | `|` |\n",
        "> quote\n",
        "> - in it\n\n",
        "> > deep\n",
        "<div>\n",
    ),
    *("<details>\n<summary>More</summary>\n\n", "</details>\n", "<details open><summary>**M**</summary>x</details>\n"),
    *(
        "$$\n\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}\n$$\n",
        "\\[ x^2 \\]\n\n",
        "[1]: https://e.org/1 'T'\n",
        "```",
    ),
)
INLINE = (
    *(
        "报告：**不变。**源码",
        "大约3~5天，100~200元。",
        "见 https://e.org/a?b=1，谢谢",
        "`شغل` الآن ",
        "[x](https://e.org/p) ",
    ),
    *(
        "$x^2$ ",
        "$HOME/bin:$PATH ",
        "$5 and $10 ",
        "$n$th ",
        "H<sub>2</sub>O ",
        "<kbd>Ctrl</kbd>",
        "<mark>",
        "</mark> ",
    ),
    *(
        "~~no~~ ",
        "~one~ ",
        "**bold *both*** ",
        "_em_ ",
        "`a",
        "` ",
        "![i](https://e.org/i.png) ",
        "&amp; ",
        "\\* ",
        "[1] ",
    ),
    *(
        "<b>x</b> ",
        "<script>",
        "https://e.org<br>",
        "👩‍👩‍👧 ",
        "\u2028",
        "\t",
        "  \n",
        "\r\n",
        "(\\(a\\)) ",
        "[^1] ",
        "<",
        "$",
    ),
)
ANSWERS = st.lists(st.one_of(st.sampled_from(BLOCKS), st.sampled_from(INLINE)), max_size=25).map("".join)


class Balance(HTMLParser):
    """Fails at a tag that closes what is not open, or is not closed itself."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"br", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_balanced(html: str) -> None:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []


@st.composite
def cut_answers(draw: st.DrawFn) -> list[str]:
    text = draw(ANSWERS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(cut_answers())
@settings(deadline=None, max_examples=300)
def test_the_streamed_page_is_the_loaded_page(pieces: list[str]) -> None:
    for shown in stream_pieces(pieces):
        assert_balanced(shown)


@given(cut_answers())
@settings(deadline=None, max_examples=100)
def test_a_continued_answer_reads_as_if_it_had_not_been_cut(pieces: list[str]) -> None:
    *_, shown = stream_pieces(JOINT.join(pieces[:3]) + "".join(pieces[3:]))
    assert shown.replace(JOINT, "") == render("".join(pieces))
    assert_balanced(shown)
