"""An answer that was cut and continued reads as one that was not, with a mark at the cut or shortly after it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering.document import render
from chat.rendering.joint import JOINT
from tests.corpus import CORPUS, split_into_parts
from tests.support.markdown_streams import markdown
from tests.support.streamed import read_words, render_inside, stream_pieces

CUTS = [
    "See https://example.com/pa|ge and on",
    "See https://example.com/pa|ge",
    "See [the docs](https://exam|ple.com/path)",
    "See [the do|cs](https://example.com/path)",
    'See [the docs](https://example.com "ti|tle") there',
    "$a + \\fr|ac{1}{2}$",
    "$$\n\\fr|ac{1}{2}\n$$",
    "``|`python\nx = 1\n```\n",
    "```py|thon\nx = 1\n```\n",
    "```python\nx |= 1\n```\n",
    "```python\nx = 1\n``|`\nafter",
    "```python\nx = 1\n|```\nafter",
    "```python\nx = 1\n```|\nafter",
    "1. one\n2|. two",
    "1. one\n|2. two",
    "1.| one\n2. two",
    "- a\n  |- b\n- c",
    "*|*bold** text",
    "**bo|ld** text",
    "**bold*|* text",
    "#| Head\n\ntext",
    "|# Head\n\ntext",
    "text\n|\nmore",
    "text\n\n|more",
    "| a | b |\n|-|--|---|\n| 1 | 2 |",
    "| a | b |\n|---|---|\n| 1 || 2 |\n| 3 | 4 |",
    "> quo|te\n> more",
    "|> quote",
    "`co|de` and",
    "a\r|\nb",
    "--|-\n\nx",
    "Head\n==|=\n\nx",
    "<kb|d>x</kbd> y",
    "&am|p; x",
    "    inden|ted\n\nx",
    "end|",
    "~~a|b~~",
    "[x]: https://a|.b\n\n[x]",
]


def cut_example(text: str) -> tuple[str, str]:
    """Return the two parts of an example, which is cut at its bar; a table at the bar that is not a cell's."""
    for place in range(len(text)):
        before, after = text[:place], text[place + 1 :]
        if text[place] == "|" and not text.startswith("| a"):
            return before, after
    at = text.index("-|-") + 1 if "-|-" in text and "||" not in text else text.index("||") + 1
    return text[:at], text[at + 1 :]


@pytest.mark.parametrize("text", CUTS)
def test_the_mark_changes_nothing_else(text: str) -> None:
    before, after = cut_example(text)
    marked = render(before + JOINT + after)
    assert marked.replace(JOINT, "") == render(before + after)
    assert marked.count(JOINT) == 1
    for shown in stream_pieces([before, JOINT, *after]):
        assert shown.count(JOINT) <= 1


def test_the_mark_is_where_the_cut_was() -> None:
    assert render_inside(f"One two {JOINT}three") == f"<p>One two {JOINT}three</p>"
    assert render_inside(f"One **t{JOINT}wo** three") == f"<p>One <strong>t{JOINT}wo</strong> three</p>"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (f"[a](https://e{JOINT}x.org) then", f"</a> {JOINT}then</p>"),
        (f"https://e{JOINT}x.org then", f"</a> {JOINT}then</p>"),
        (f"$a{JOINT}b$ then", f"</math> {JOINT}then</p>"),
        (f"- {JOINT}- a", f"{JOINT}a"),
        (f"$a{JOINT}b$", f"</math>{JOINT}</p>"),
    ],
)
def test_the_mark_is_behind_an_element_that_it_would_break(text: str, html: str) -> None:
    assert html in render_inside(text)


def test_the_mark_is_behind_a_block_of_code() -> None:
    assert render_inside(f"```py\nx {JOINT}= 1\n```\nthen").endswith(f"</code></pre></div>{JOINT}<p>then</p>")


@pytest.mark.parametrize("name", CORPUS)
def test_a_continued_corpus_reads_the_same_at_every_cut(name: str) -> None:
    for part in split_into_parts(CORPUS[name], 150):
        whole = render(part)
        for cut in range(1, len(part)):
            marked = render(part[:cut] + JOINT + part[cut:])
            assert marked.replace(JOINT, "") == whole, part[:cut]
            assert marked.count(JOINT) == 1, part[:cut]


@given(markdown, st.integers(0, 200), st.integers(0, 200))
@settings(deadline=None, max_examples=300)
def test_any_continued_text_reads_the_same_at_every_cut(text: str, first: int, second: int) -> None:
    first, second = sorted((min(first, len(text)), min(second, len(text))))
    pieces = [text[:first], JOINT, text[first:second], JOINT, text[second:]]
    *_, shown = stream_pieces(pieces)
    assert shown.replace(JOINT, "") == render(text)
    assert shown.count(JOINT) <= 2
    assert read_words(shown).replace(JOINT, "") == read_words(render(text))
