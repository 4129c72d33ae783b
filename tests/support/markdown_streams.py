"""Random Markdown, and a stream of any text that is held beside the loaded page."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from tests.support.streamed import stream_pieces

# What Markdown is made of, so that random texts have structure.
PIECES = (
    *(
        "\n",
        "\n\n",
        "- ",
        "* ",
        "1. ",
        "2) ",
        "  ",
        "    ",
        "> ",
        "# ",
        "## ",
        "---\n",
        "***",
        "**",
        "*",
        "_",
        "~~",
        "`",
        "```",
    ),
    *(
        "```py\n",
        "~~~\n",
        "| a | b |\n",
        "|---|---|\n",
        "| 1 ",
        "|",
        "$",
        "$$",
        "\\(",
        "\\)",
        "[x]",
        "](http://a.b)",
        "![",
        "\r\n",
    ),
    *(
        "[x]: http://a.b\n",
        "<b>",
        "<div>\n",
        "&amp;",
        "&",
        "\\",
        "word",
        "Two words",
        "é",
        "🚀",
        "http://a.b/c ",
        "- [ ] ",
        "\t",
        "=\n",
    ),
)
markdown = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def stream(pieces: Iterable[str]) -> None:
    """Feed the pieces, and hold the page beside the loaded one after each of them."""
    for _ in stream_pieces(pieces):
        continue
