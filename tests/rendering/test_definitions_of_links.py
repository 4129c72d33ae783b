"""A line that defines a link or a note is shown, and what refers to it is linked, before it and after it; a text that
streams shows at each moment what the loaded one does.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering.document import StreamingMarkdown, render
from chat.rendering.joint import JOINT
from tests.support.markdown_streams import stream
from tests.support.streamed import read_words, render_inside, stream_pieces

SOURCES = '[1]: https://example.com/one\n[2]: https://example.com/two "Two"'
LATE = f"The sky is blue [1][2].\n\nSources:\n\n{SOURCES}"
ONE = '<a href="https://example.com/one" rel="noopener noreferrer nofollow">1</a>'
TWO = '<a href="https://example.com/two" title="Two" rel="noopener noreferrer nofollow">2</a>'


@pytest.mark.parametrize("text", [f"{SOURCES}\n\nMore", f"{SOURCES}\n- item", f"> {SOURCES}", f"Sources:\n{SOURCES}"])
def test_sources_are_shown_with_their_addresses(text: str) -> None:
    html = render(text)
    assert html.count("[1]: ") == html.count("[2]: ") == 1
    assert html.count('href="https://example.com/one"') == html.count('href="https://example.com/two"') == 1
    stream(text)


@pytest.mark.parametrize(
    "text", ["[Note]: this is it", "[a]:\nhttps://a.b", "- [1]: https://a.b", "> - [x]: https://a.b", "[^1]: A note"]
)
def test_a_definition_that_links_nothing_is_shown_as_it_was_written(text: str) -> None:
    assert read_words(render_inside(text)).split() == re.sub(r"^[->\s]+", "", text).split()
    stream(text)


@pytest.mark.parametrize(
    "text",
    [
        LATE,
        f"{LATE}\n",
        f"{LATE}\n\nMore text.",
        LATE.replace("\n", "\r\n"),
        LATE.replace("Sources:\n\n", "Sources:\n"),
        LATE.replace("Sources:\n\n", "---\n"),
        LATE.replace("\n[2]", "\n\n[2]"),
        LATE.replace("[1]: ", "- [1]: ").replace("[2]: ", "- [2]: "),
        LATE.replace("[1]: ", "> [1]: ").replace("[2]: ", "> [2]: "),
        f"- The sky is blue [1][2].\n- b\n\n{SOURCES}",
        f"| a |\n|---|\n| The sky is blue [1][2]. |\n| b |\n\n{SOURCES}",
        f"> The sky is blue [1][2].\n\n```\n[1]\n```\n\n{SOURCES}",
        f"# The sky is blue [1][2].\n\n<details>\n<summary>Sources</summary>\n\n{SOURCES}\n\n</details>\n",
        f"<details>\n<summary>More</summary>\n\nThe sky is blue [1][2].\n\n{SOURCES}\n\nIt is.\n\n</details>\n",
        f"<details>\n<summary>Sky</summary>\n\nThe sky is blue [1][2].\n\n</details>\n\n{SOURCES}",
    ],
)
def test_text_before_a_definition_refers_to_it(text: str) -> None:
    html = render(text)
    assert f"The sky is blue {ONE}{TWO}." in html
    assert html.count("[1]: ") == html.count("[2]: ") == 1
    stream(text)


@pytest.mark.parametrize(
    "definition",
    [
        "[a]:\nhttps://a.b",
        "[a]:  \n  <https://a.b>",
        "Sources:\n[a]:\nhttps://a.b",
        "> [a]:\n> https://a.b",
        "- [a]:\n  https://a.b",
    ],
)
def test_the_address_may_stand_on_the_next_line(definition: str) -> None:
    text = f"See [a].\n\n{definition}\n\nMore [x][a]."
    html = render(text)
    assert 'See <a href="https://a.b" rel="noopener noreferrer nofollow">a</a>.' in html
    assert 'More <a href="https://a.b" rel="noopener noreferrer nofollow">x</a>.' in html
    assert "[a]:" in read_words(html)
    stream(text)


@pytest.mark.parametrize(
    "text", ["See [a].\n\n[a]:\nword", "See [a].\n\n[a]:\n\nhttps://a.b", "See [a].\n\n[a]:\n[b](http://c.d)"]
)
def test_another_text_on_the_next_line_defines_nothing(text: str) -> None:
    assert "<p>See [a].</p>" in render(text)
    stream(text)


def test_text_after_a_definition_refers_to_it() -> None:
    text = f"{SOURCES}\n\nThe sky [is blue][1].\n\n- so they [say][2]\n"
    html = render(text)
    assert ">is blue</a>" in html
    assert ">say</a>" in html
    stream(text)


def test_the_page_shows_the_links_when_the_text_goes_on_after_the_sources() -> None:
    *_, before, after, _ = stream_pieces([LATE, "\n\n", "More", "\n"])
    assert ONE not in before
    assert ONE in after


@pytest.mark.parametrize("label", ["1", "note", "日本", "a.b"])
def test_a_note_stands_above_the_line(label: str) -> None:
    text = f"So it is[^{label}], he said.\n\n[^{label}]: In *1984*.\n"
    assert (
        render_inside(text) == f"<p>So it is<sup>{label}</sup>, he said.</p><p><sup>{label}</sup> In <em>1984</em>.</p>"
    )
    stream(text)


NOTE = "So it is[^1].\n\n[^1]: In *1984*.\n\n"


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("    More **of** it.", "<p>More <strong>of</strong> it.</p>"),
        ("\tMore.", "<p>More.</p>"),
        ("    More.\n\n    And more.", "<p>More.</p><p>And more.</p>"),
        ("    - a\n    - b", "<ul><li>a</li><li>b</li></ul>"),
        ("    > a", "<blockquote><p>a</p></blockquote>"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\nEnd\n", "\n\n[^2]: Another\n\n    note\n", "\n- item\n\n  more\n"])
def test_a_note_has_more_than_one_paragraph(more: str, shown: str, end: str) -> None:
    text = NOTE + more + end
    html = render_inside(text).replace("\n", "")
    assert html.startswith(f"<p>So it is<sup>1</sup>.</p><p><sup>1</sup> In <em>1984</em>.</p>{shown}")
    assert "<pre>" not in html
    stream(text)


def test_a_note_has_code() -> None:
    text = f"{NOTE}    ```python\n    a = 1\n\n      b\n    ```\n\nEnd\n"
    assert read_words(render(text)).endswith("a = 1\n\n  b\nEnd")
    stream(text)


def test_a_note_ends_where_the_indent_does() -> None:
    html = render_inside(f"{NOTE}Text\n\n    code\n")
    assert html.count("<pre>") == 1
    assert "<p>Text</p>" in html


def test_a_long_note_is_cut_and_loses_nothing() -> None:
    text = NOTE + "".join(f"    Line {number} of the note\n\n" for number in range(2_000)) + "End\n"
    assert re.findall(r"Line (\d+) of", read_words(render(text))) == [str(number) for number in range(2_000)]
    assert "<pre>" not in render(text)
    stream(text[start : start + 997] for start in range(0, 20_000, 997))


def test_notes_that_follow_each_other_are_all_there() -> None:
    text = "A[^1][^2] and [B][^2].\n\n[^1]: one\n[^2]: two"
    assert read_words(render_inside(text)) == "A12 and B2.1 one\n2 two"
    assert render_inside(text).count("<sup>") == 5
    stream(text)


@pytest.mark.parametrize("text", ["Match `[^1]` and `a[1][2]`.", "\\[1] and \\[^1]", "```\n[1][^1]\n```"])
def test_code_and_escaped_brackets_refer_to_nothing(text: str) -> None:
    assert render_inside(f"{text}\n\n{SOURCES}\n[^1]: note").startswith(render_inside(text))


@pytest.mark.parametrize("address", ["javascript:alert(1)", "/admin/", "data:text/html,x", "<footnote:x>"])
def test_no_definition_leads_elsewhere_than_to_the_web(address: str) -> None:
    html = render(f"See [1].\n\n[1]: {address}\n")
    assert "href" not in html
    assert "See [1]." in html


def test_a_definition_before_code_in_an_item_is_shown_too() -> None:
    stream("[x]: http://a.b\n- ```py\n")


def test_text_that_was_continued_keeps_its_mark() -> None:
    before, after = LATE[:10], LATE[10:]
    assert render_inside(before + JOINT + after).replace(JOINT, "") == render_inside(LATE)
    assert render_inside(before + JOINT + after).count(JOINT) == render_inside(LATE + JOINT).count(JOINT) == 1


PIECES = st.sampled_from(
    [
        *("[1]", "[2]", "[^1]", "[^a]", "[x][1]", "![1]", "word ", "\n", "\n\n", "- ", "> ", "1. ", "  ", "`", "**"),
        *("[1]: https://a.b/c\n", "[2]: https://d.e 'T'\n", "[^1]: note\n", "[^a]: more *notes*\n", "[x]:", "\r\n"),
        *("| a |\n|---|\n", "| [1] |\n", "```\n", "<details>\n<summary>[1]</summary>\n\n", "</details>\n", "$$\n"),
        *("[x]:\nhttps://f.g\n", "\n\n    more ", "    ", "[^1]: one\n\n    two\n"),
        *(JOINT, "---\n", "long text " * 40, "<div>\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30), st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_however_it_is_cut_the_page_is_that_of_the_loaded_text(pieces: list[str], sizes: list[int]) -> None:
    text, cut = "".join(pieces), list[str]()
    while text:
        size = sizes[len(cut) % len(sizes)]
        cut.append(text[:size])
        text = text[size:]
    for _ in stream_pieces(cut):
        continue


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"Said [{n}].\n\n[{n}]: https://a.b/{n}\n\n" for n in range(2_000)),
        "".join(f"Said[^{n}].\n\n" for n in range(900)) + "".join(f"[^{n}]: A note\n\n" for n in range(900)),
        f"{LATE}\n\n" * 200,
    ],
    ids=["each by itself", "all at the end", "the same again and again"],
)
def test_late_definitions_send_little_more_than_the_text(text: str) -> None:
    markdown, sent = StreamingMarkdown(), 0
    for start in range(0, len(text), 1_000):
        markdown.feed(text[start : start + 1_000])
        sent += sum(len(swap.html) for swap in markdown.take_changes())
    markdown.finish()
    sent += sum(len(swap.html) for swap in markdown.take_changes())
    assert sent < 4 * len(render(text))
