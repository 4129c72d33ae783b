"""Blocks of code as HTML, coloured where their language is named and known."""

from __future__ import annotations

import html
from functools import lru_cache

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Colouring costs about 1 ms for a kilobyte: a longer block stays plain, or it would hold the event loop for 20 ms.
HIGHLIGHT_CHARS = 20_000

# The languages that models write most. Making a lexer holds the event loop for up to 80 ms; all of these take 0.3 s.
FREQUENT = (
    "python javascript typescript tsx jsx json bash console html css sql java c cpp csharp go rust ruby php kotlin "
    "swift yaml toml ini xml diff dockerfile makefile markdown r lua powershell"
)

# One formatter for all blocks: making one takes 0.5 ms, for a style sheet that is not used.
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)


def render_code_start(info: str, kind: str = "") -> str:
    """Return the HTML before the code. `info` is the fence's text, whose first word names the language."""
    label = html.escape(read_language(info))
    mark = f' class="{kind}"' if kind else ""
    return (
        f'<div class="code"><div class="code-head"><span class="code-lang">{label}</span>'
        f'<button type="button" class="copy">Copy</button></div><pre><code{mark}>'
    )


CODE_END = "</code></pre></div>"


# The HTML before code that continues another block's.
CONTINUED_CODE_START = '<div class="code"><pre><code>'


def read_language(info: str) -> str:
    """Return the language that a fence names, at most 40 characters of it."""
    return html.unescape(info.strip().partition(" ")[0])[:40]


def highlight_code(text: str, info: str) -> str:
    """Return code as HTML, coloured if its language is known and it is at most HIGHLIGHT_CHARS long."""
    lexer = _get_lexer(read_language(info).lower()) if len(text) <= HIGHLIGHT_CHARS else None
    if lexer is None:
        return html.escape(text, quote=False)
    return highlight(text, lexer, _FORMATTER)


@lru_cache(64)
def _get_lexer(name: str) -> Lexer | None:
    """Return the lexer of that name, never a guess. It keeps the text as it is, because readers copy it."""
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False) if name else None
    except ClassNotFound:
        return None


def prepare_lexers() -> None:
    """Make the lexers of frequent languages."""
    for name in FREQUENT.split():
        _get_lexer(name)
