"""A few tags without attributes become elements; all others are shown as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.safe_html import find_unsafe
from tests.support.streamed import read_words, render_inside, stream_pieces

PAIRS = ("sub", "sup", "kbd", "mark", "u", "small")


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_of_a_harmless_tag_becomes_an_element(name: str) -> None:
    *growing, shown = stream_pieces(f"Press <{name}>Ctrl</{name}> now")
    assert f"<p>Press <{name}>Ctrl</{name}> now</p>" in shown
    assert not any("&lt;" in each for each in growing)


@pytest.mark.parametrize("tag", ["<br>", "<br/>", "<br />", "<BR>"])
def test_a_line_break_tag_breaks_the_line(tag: str) -> None:
    *growing, shown = stream_pieces(f"one{tag}two")
    assert "<p>one<br>two</p>" in shown
    assert not any("&lt;" in each for each in growing)


@pytest.mark.parametrize("end", ["<br>\n", "<br/>\n", "<br> \n", "  \n", "\\\n"])
def test_a_line_break_at_the_end_of_a_line_is_one(end: str) -> None:
    assert render_inside(f"one{end}two") == "<p>one<br>\ntwo</p>"


def test_two_line_break_tags_make_two_breaks() -> None:
    assert render_inside("- one<br><br>\n  two<br>three") == "<ul><li>one<br><br>\ntwo<br>three</li></ul>"


def test_a_line_break_tag_breaks_the_line_in_a_cell() -> None:
    assert "<td>1<br>2</td>" in render_inside("| a |\n|---|\n| 1<br>2 |")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("H<sub>2</sub>O and x<sup>2</sup>", "H<sub>2</sub>O and x<sup>2</sup>"),
        ("**<kbd>x</kbd>** <kbd>**x**</kbd>", "<strong><kbd>x</kbd></strong> <kbd><strong>x</strong></kbd>"),
        ("<KBD>x</kbd>", "<kbd>x</kbd>"),
        ("<sup><sub>x</sub></sup>", "<sup><sub>x</sub></sup>"),
    ],
)
def test_pairs_in_text_become_elements(text: str, html: str) -> None:
    assert render_inside(text) == f"<p>{html}</p>"


@pytest.mark.parametrize(
    "text",
    [
        "<b>x</b>",
        "<script>x</script>",
        "<kbd onclick='x'>a</kbd>",
        '<sub class="tail">a',
        "<sub id=x>a",
        "use the <kbd> tag",
        "a </kbd> b",
        "<br onclick=x>",
        "</br>",
        "<sub/>",
        "<iframe>",
        "<abbr title=x>y</abbr>",
        "`<kbd>x</kbd> <br>`",
        "\\<br>",
        "&lt;br&gt;",
        "<s>x</s>",
    ],
)
def test_other_tags_are_text(text: str) -> None:
    shown = render_inside(text).removeprefix("<p>").removesuffix("</p>")
    assert shown.replace("<code>", "").replace("</code>", "").count("<") == 0
    assert "&lt;" in shown


def test_a_single_tag_stays_text_beside_a_pair() -> None:
    assert render_inside("<sub><sup>x</sub></sup>") == "<p><sub>&lt;sup&gt;x</sub>&lt;/sup&gt;</p>"
    assert render_inside("**a <kbd>b** c</kbd>") == "<p><strong>a &lt;kbd&gt;b</strong> c&lt;/kbd&gt;</p>"


def test_code_formulas_and_attributes_keep_their_tags() -> None:
    assert "x &lt;br&gt; y\n" in render_inside("```\nx <br> y\n```")
    assert render_inside("[a](http://b.c '<br>')") == (
        '<p><a href="http://b.c" title="&lt;br&gt;" rel="noopener noreferrer nofollow">a</a></p>'
    )
    assert "&lt;br&gt;" in render_inside("$\\text{a<br>b}$")


TAGGED = st.lists(
    st.sampled_from(
        [
            *(f"<{slash}{name}>" for name in PAIRS for slash in ("", "/")),
            *("<br>", "**", "*", "`", "x", " ", "\n", "\n\n", "- ", "|", "$", "~", "[a](", ")", "<script>", "<kbd x>"),
            *("https://a.b", "。", "<details>", "</details>", "\n<summary>", "</summary>\n", "| a |\n|---|\n"),
        ]
    ),
    max_size=30,
)


@given(TAGGED)
@settings(deadline=None, max_examples=300)
def test_tags_in_any_order_are_well_formed_and_safe_at_each_moment(pieces: list[str]) -> None:
    for shown in stream_pieces(pieces):
        assert not [each for each in find_unsafe(shown) if each.strip("<>") not in (*PAIRS, "details", "summary")]
        assert "<script" not in shown
    assert "\U00010a50" not in read_words(shown)
