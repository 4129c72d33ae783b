"""Markdown to safe HTML: comrak for the structure, pygments for code, MathML for formulas, and nh3 last of all."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import lru_cache

import comrak
import nh3
from latex2mathml.converter import convert
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

# Colouring costs about 1 ms for a kilobyte: a longer block stays plain, or it would hold the event loop for 20 ms.
HIGHLIGHT_CHARS = 20_000

# What models write most. The first block of a language makes its lexer, which would hold the event loop for up to 80
# ms; all of these take 0.3 s.
FREQUENT = (
    "python javascript typescript tsx jsx json bash console html css sql java c cpp csharp go rust ruby php kotlin "
    "swift yaml toml ini xml diff dockerfile makefile markdown r lua powershell"
)

# A formula longer than this is shown as it was written; conversion takes up to 1 ms for 100 characters.
FORMULA_CHARS = 2_000

# And so are those after the first 200 of one block, at 0.6 ms each.
FORMULAS = 200

# comrak looks for the end of each `\\(` anew: 20,000 of them take 3.5 s.
TEX_BRACKETS = 500

MATHML = {
    "math": {"display", "xmlns"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mo": {
        "stretchy",
        "fence",
        "form",
        "largeop",
        "movablelimits",
        "separator",
        "minsize",
        "maxsize",
        "lspace",
        "rspace",
    },
    "mi": {"mathvariant"},
    "mn": {"mathvariant"},
    "mtext": {"mathvariant"},
    "mspace": {"width", "linebreak"},
    "mtable": {"columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines", "frame"},
    "mtr": set(),
    "mtd": {"columnalign"},
    "mfrac": {"linethickness", "bevelled"},
    "menclose": {"notation"},
    "mpadded": {"width", "height", "depth", "lspace", "voffset"},
    "mphantom": set(),
    "mstyle": {"displaystyle", "scriptlevel"},
    **{
        name: set()
        for name in ("mrow", "msub", "msup", "msubsup", "munderover", "msqrt", "mroot", "mmultiscripts", "none")
    },
}
PROSE = {
    "a": {"href", "title"},
    "ol": {"start"},
    "th": {"align"},
    "td": {"align"},
    "button": {"type"},
    **{
        name: set()
        for name in (
            *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "li", "em", "strong", "del"),
            *("code", "pre", "table", "thead", "tbody", "tr", "div", "span"),
        )
    },
}
TOKEN_CLASSES = {name for name in STANDARD_TYPES.values() if name}

SANITISER = nh3.Cleaner(
    tags={*PROSE, *MATHML},
    clean_content_tags=set(),
    attributes={**PROSE, **MATHML},
    allowed_classes={
        "div": {"code", "code-head"},
        "span": {"code-lang", *TOKEN_CLASSES},
        "code": {"highlight"},
        "button": {"copy"},
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    attribute_filter=lambda tag, name, value: _absolute(value) if name == "href" else value,
)

# One for all blocks: to make one takes 0.5 ms, for a style sheet that nobody uses.
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)

_ABSOLUTE = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)


def _absolute(address: str) -> str | None:
    """Relative addresses would lead to pages of this site, which no model has any business with."""
    return address if _ABSOLUTE.match(address) else None


def _extensions(*, math_latex: bool) -> comrak.ExtensionOptions:
    options = comrak.ExtensionOptions()
    for name in ("table", "strikethrough", "autolink", "tasklist", "math_dollars"):
        setattr(options, name, True)
    options.math_latex = math_latex
    return options


def extensions_for(source: str) -> comrak.ExtensionOptions:
    brackets = source.count("\\(") + source.count("\\[")
    return EXTENSIONS if brackets <= TEX_BRACKETS else WITHOUT_TEX_BRACKETS


def _rendering(*, sourcepos: bool) -> comrak.RenderOptions:
    options = comrak.RenderOptions()
    options.escape = True
    options.hardbreaks = True
    options.sourcepos = sourcepos
    return options


EXTENSIONS = _extensions(math_latex=True)
WITHOUT_TEX_BRACKETS = _extensions(math_latex=False)
PARSING = comrak.ParseOptions()
PLAIN = _rendering(sourcepos=False)
POSITIONED = _rendering(sourcepos=True)


def to_html(source: str) -> str:
    """The safe HTML of some Markdown, without a newline at its end."""
    rough = comrak.render_markdown(source, extensions_for(source), PARSING, PLAIN)
    for pattern, replacement, most in _REPLACEMENTS:
        rough = pattern.sub(replacement, rough, count=most)
    return sanitised(rough).rstrip("\n")


def sanitised(rough: str) -> str:
    return SANITISER.clean(rough)


def code_block(text: str, info: str) -> str:
    """A finished block of code, coloured when its language is named and known."""
    return sanitised(code_start(info, "highlight") + coloured(text, info) + CODE_END)


def code_start(info: str, kind: str = "") -> str:
    """What stands before the code. `info` is the language as the model named it."""
    label = html.escape(language_of(info))
    mark = f' class="{kind}"' if kind else ""
    return (
        f'<div class="code"><div class="code-head"><span class="code-lang">{label}</span>'
        f'<button type="button" class="copy">Copy</button></div><pre><code{mark}>'
    )


CODE_END = "</code></pre></div>"

# Code that goes on.
CODE_ON = '<div class="code"><pre><code>'


def language_of(info: str) -> str:
    return html.unescape(info.strip().partition(" ")[0])[:40]


def coloured(text: str, info: str) -> str:
    lexer = _lexer(language_of(info).lower()) if len(text) <= HIGHLIGHT_CHARS else None
    if lexer is None:
        return html.escape(text, quote=False)
    return highlight(text, lexer, _FORMATTER)


@lru_cache(64)
def _lexer(name: str) -> Lexer | None:
    """By name, never guessed. It must not change the text: what is copied is what the model wrote."""
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False) if name else None
    except ClassNotFound:
        return None


def prepare() -> None:
    """Have the lexers of frequent languages ready."""
    for name in FREQUENT.split():
        _lexer(name)


def _code(found: re.Match[str]) -> str:
    return (
        code_start(html.unescape(found[1] or ""), "highlight")
        + coloured(html.unescape(found[2]), found[1] or "")
        + CODE_END
    )


def _formula(found: re.Match[str]) -> str:
    source = html.unescape(found[2])
    mathml = _mathml(source, "block" if found[1] == "display" else "inline") if len(source) <= FORMULA_CHARS else None
    return mathml or f"<code>{html.escape(source, quote=False)}</code>"


@lru_cache(2048)
def _mathml(source: str, display: str) -> str | None:
    """The formula, or None when it is none. A paragraph that grows is rendered many times, its formulas once."""
    try:
        return str(convert(source, display=display))
    except Exception:
        return None


def _image(found: re.Match[str]) -> str:
    """An image would tell another server who reads what; a link waits to be clicked."""
    source, text = found[1], found[2] or found[1]
    return f'<a href="{source}">{text}</a>'


_FORMULA = re.compile(r'<span data-math-style="(\w+)">(.*?)</span>', re.DOTALL)

# In this order; the number is the most replacements in one block, 0 for all.
_REPLACEMENTS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str, int], ...] = (
    (re.compile(r'<pre><code(?: class="language-([^"]*)")?>(.*?)</code></pre>', re.DOTALL), _code, 0),
    (_FORMULA, _formula, FORMULAS),
    (_FORMULA, r"<code>\2</code>", 0),
    (re.compile(r'<img src="([^"]*)" alt="([^"]*)"(?: title="[^"]*")? />'), _image, 0),
    (re.compile(r'<input type="checkbox" checked="" disabled="" />'), "☑", 0),
    (re.compile(r'<input type="checkbox" disabled="" />'), "☐", 0),
)
