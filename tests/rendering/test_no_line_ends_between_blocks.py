"""No line ends stand between the tags of blocks: nobody sees them, and each is a node of the page."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import render
from tests.support.streamed import stream_pieces

TEXTS = {
    "table": "| a | b |\n|---|:-:|\n| 1 | *2* |\n| 3 | `4` |\n",
    "list": "- a\n- b\n  - c\n  - d\n\n    e\n\n1. f\n\n2. g\n",
    "quote": "> a\n>\n> - b\n>\n> > c\n>\n> ## d\n> ---\n> e\n",
    "details": "- <details>\n  <summary>More</summary>\n\n  a\n\n  - b\n\n  </details>\n- c\n",
    "code in an item": "1. a\n\n   ```html\n   <table>\n   <tr>\n   ```\n\n   b\n",
    "formula in a cell": "| $x$ |\n|---|\n| $\\frac{1}{2}$ |\n",
}


def remove_code(html: str) -> str:
    return re.sub("<pre>.*?(</pre>|$)", "<pre>", html, flags=re.DOTALL)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_blocks_have_no_line_ends_between_them(text: str) -> None:
    for shown in (*stream_pieces(text), render(text)):
        assert "\n" not in remove_code(shown)


def test_the_lines_of_a_paragraph_stay_apart() -> None:
    assert "a<br>\nb" in render("a\nb")


@pytest.mark.parametrize("info", ["", "html", "no-such-language"])
def test_code_keeps_its_line_ends(info: str) -> None:
    lines = ["<table>", "<tr>", "", "</tr>", "<p>", "</p>", "<li>"]
    for around in ("{}", "- {}", "> {}"):
        code = "\n".join([f"```{info}", *lines, "```"])
        text = around.format(code.replace("\n", "\n" + {"{}": "", "- {}": "  ", "> {}": "> "}[around]))
        found = re.search("<pre><code[^>]*>(.*?)</code></pre>", render(text), re.DOTALL)
        assert found is not None
        shown = re.sub("<[^>]+>", "", found[1]).replace("&lt;", "<").replace("&gt;", ">")
        assert shown.rstrip("\n") == "\n".join(lines)
