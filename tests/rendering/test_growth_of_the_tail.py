"""What grows in a browser is sent once: a word more of a paragraph is a word on the wire, not the paragraph again."""

from __future__ import annotations

import pytest

from chat.rendering.document import StreamingMarkdown, render
from chat.rendering.growth import find_growth
from tests.support.markdown_streams import stream

LONG = "word " * 100
GROWTH: list[tuple[str, str, list[tuple[int, str, str]] | None]] = [
    ("<div><p>a</p></div>", "<div><p>a b</p></div>", [(1, "beforeend", " b")]),
    ("<div><p>a <em>b</em></p></div>", "<div><p>a <em>bc</em></p></div>", [(2, "beforeend", "c")]),
    ("<div><p>a <em>b</em></p></div>", "<div><p>a <em>b</em> c</p></div>", [(1, "beforeend", " c")]),
    (
        "<div><p>a <em>b</em></p></div>",
        "<div><p>a <em>bc</em> d</p></div>",
        [(2, "beforeend", "c"), (1, "beforeend", " d")],
    ),
    ("<div><p>a</p></div>", "<div><p>a</p>\n<p>b</p></div>", [(0, "beforeend", "\n<p>b</p>")]),
    ("<li>a</li>", "<li>a<br>\nb</li>", [(0, "beforeend", "<br>\nb")]),
    (
        "<li><ul>\n<li>a</li>\n</ul>\n</li>",
        "<li><ul>\n<li>ab</li>\n</ul>\n</li>",
        [(2, "beforeend", "b")],
    ),
    (
        "<li><ul>\n<li>a</li>\n</ul>\n</li>",
        "<li><ul>\n<li>a</li>\n<li>b</li>\n</ul>\n</li>",
        [(1, "beforeend", "<li>b</li>\n")],
    ),
    (
        "<li><ul>\n<li>a</li>\n</ul>\n</li>",
        "<li><ul>\n<li>b</li>\n<li>c</li>\n</ul>\n</li>",
        None,
    ),
    (
        f"<li>{LONG}<ul>\n<li>a</li>\n</ul>\n</li>",
        f"<li>{LONG}<ul>\n<li>b</li>\n<li>c</li>\n</ul>\n</li>",
        [(2, "outerHTML", "<li>b</li>\n<li>c</li>")],
    ),
    (
        f'<div><p>{LONG}<a href="x">x</a></p></div>',
        f'<div><p>{LONG}<a href="x&gt;">xy</a> z</p></div>',
        [(2, "outerHTML", '<a href="x&gt;">xy</a> z')],
    ),
    (f"<div>{LONG}<p>a</p></div>", f"<div>{LONG}<h2>b</h2></div>", [(1, "outerHTML", "<h2>b</h2>")]),
    ("<div><p>a</p></div>", "<div></div>", None),
    ("<div>a</div>", "<div>b</div>", None),
    ("<div></div>", "<span></span>", None),
]


@pytest.mark.parametrize(("shown", "wanted", "growth"), GROWTH)
def test_the_innermost_open_element_changes(shown: str, wanted: str, growth: list[tuple[int, str, str]] | None) -> None:
    assert find_growth(shown, wanted) == growth


PROSE = "Light is **scattered** by the `air`, and *blue* light more than red, as was found long ago by many. "
LINKED = "Light is **scattered** by the `air`, as [was found](https://a.bc/d) long ago. "
TEXTS = {
    "paragraphs": (PROSE * 5 + "\n\n") * 4,
    "one paragraph": PROSE * 40,
    "a list": "".join(f"- {LINKED}\n" for _ in range(20)),
    "a list in one item": "- a\n" + "".join(f"  - {LINKED}\n" for _ in range(20)),
    "a quote": "".join(f"> {PROSE}\n" for _ in range(20)),
}


def count_sent(text: str, size: int) -> int:
    """Return the characters of HTML that a page is sent when so many characters of text come at a time."""
    markdown, sent = StreamingMarkdown(), 0
    for start in range(0, len(text), size):
        markdown.feed(text[start : start + size])
        sent += sum(len(swap.html) for swap in markdown.take_changes())
    markdown.finish()
    return sent + sum(len(swap.html) for swap in markdown.take_changes())


@pytest.mark.parametrize("name", TEXTS)
def test_what_grows_is_sent_once_and_once_more_when_it_is_sealed(name: str) -> None:
    text = TEXTS[name]
    assert count_sent(text, 11) < 3.5 * len(render(text))  # a link's label is text until its address has come


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_that_grows_is_the_page_that_is_loaded(name: str) -> None:
    text = TEXTS[name][:1500]
    stream(text[start : start + 11] for start in range(0, len(text), 11))
