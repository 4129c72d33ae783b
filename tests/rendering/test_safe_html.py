"""Nothing that a model writes becomes script, loads from elsewhere, or looks like a part of the site."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import StreamingMarkdown, render, render_snapshot
from tests.support.safe_html import find_unsafe

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<div hx-get='/' hx-trigger='load' style='x' id='composer'>x</div>",
    "<svg onload=alert(1)><use href='#x'/></svg>",
    "<form action='/send/'><input name=content></form>",
    "<meta http-equiv=refresh content='0;url=//evil'><base href='//evil'>",
    "![x](https://evil.example/pixel.png)",
    '![x](https://evil.example/p.png "t" onerror=x)',
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](java&#115;cript:alert(1)) [d](\tjavascript:alert(1))",
    "[a](data:text/html,x) [b](vbscript:x) [c](file:///etc/passwd)",
    "[d](//evil.example) [e](/admin/) [f](?x) [g](#composer)",
    "<javascript:alert(1)> <https://ok.example/?a=1&b=2>",
    '```tail copy" onclick="alert(1)\nx\n```',
    "```<script>\n</code></pre><script>alert(1)</script>\n```",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$$\\href{javascript:alert(1)}{x} \\class{tail}{y}$$",
    '| <b onclick=x> | </td><script> |\n|---|---|\n| <hx-partial hx-target="#composer"> | </hx-partial> |',
    '- <span class="tail">x</span>\n- <button class="copy" formaction="/stop/">',
    "[x]: javascript:alert(1)\n\n[x] ![x]",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x&#62;",
]

TAIL = re.compile('<[a-z]+ class="tail">')


@pytest.mark.parametrize("text", HOSTILE)
def test_the_finished_page_holds_only_what_is_on_the_list(text: str) -> None:
    assert find_unsafe(render(text)) == []
    assert not TAIL.search(render(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_every_streamed_page_holds_only_what_is_on_the_list(text: str) -> None:
    streaming = StreamingMarkdown()
    for end, character in enumerate(text, start=1):
        streaming.feed(character)
        for swap in streaming.take_changes():
            assert find_unsafe(swap.html) == []
        assert len(TAIL.findall(render_snapshot(text[:end]))) == 1


def test_a_link_tells_nobody_where_it_was_read() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render("[a](https://example.org/)")


def test_an_image_is_a_link() -> None:
    assert render("![A map](https://example.org/map.png)") == (
        '<div class="stretch"><p><a href="https://example.org/map.png" rel="noopener noreferrer nofollow">A map</a></p>'
        "</div>"
    )


def test_raw_html_is_shown_as_text() -> None:
    assert render("a <b>c</b>") == '<div class="stretch"><p>a &lt;b&gt;c&lt;/b&gt;</p></div>'


def test_code_is_coloured_by_its_name_and_never_guessed() -> None:
    assert '<span class="k">def</span>' in render("```python\ndef f(): ...\n```")
    assert "<span class=" not in render("```\ndef f(): ...\n```").replace('<span class="code-lang">', "")
    assert "<span class=" not in render("```nolanguage\ndef\n```").replace('<span class="code-lang">', "")


def test_unknown_tex_is_shown_as_it_was_written() -> None:
    assert "<math" in render("$a^2$")
    assert "5 and $10" in render("It costs $5 and $10.")
