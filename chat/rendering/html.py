"""Safe HTML from Markdown: comrak for the structure, pygments for code, MathML for formulas, and nh3 last of all."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import quote, unquote

import comrak
import nh3
from pygments.token import STANDARD_TYPES

from chat.rendering.bars import show_bars
from chat.rendering.highlight import CODE_END, highlight_code, render_code_start
from chat.rendering.inner_details import mark_details, restore_details
from chat.rendering.joint import JOINT, convert_with_joints
from chat.rendering.references import BETWEEN
from chat.rendering.standins import TAGS, mask
from chat.rendering.tex import convert_to_mathml

# Shorter sources come again often (a row, an item, an empty one), so their HTML is cached: making it takes 40 us.
SHORT_CHARS = 60

# Longer code is not cached: coloured it is up to ten times as long, and 128 blocks are kept.
CACHED_CODE_CHARS = 8_000

# A longer formula is shown as it was written: conversion takes up to 1 ms for 100 characters.
FORMULA_CHARS = 2_000

# So are those after the first 200 of one block, at 0.6 ms each.
FORMULAS = 200

# With more of them formulas in `\\(` are left alone: comrak searches for the end of each, and 20,000 take 3.5 s.
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
    "mtable": {"displaystyle", "columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines", "frame"},
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
    "details": {"open"},
    **{
        name: set()
        for name in (
            *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "li", "em", "strong", "del"),
            *("code", "pre", "summary", "table", "thead", "tbody", "tr", "div", "span"),
            *TAGS,
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
        "span": {"code-lang", "task", *TOKEN_CLASSES},
        "code": {"highlight"},
        "button": {"copy"},
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    attribute_filter=lambda tag, name, value: _keep_absolute(value) if name == "href" else value,
)

_ABSOLUTE = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)


def _keep_absolute(address: str) -> str | None:
    """Return an absolute address, or None for a relative one: it would lead to a page of this site."""
    return address if _ABSOLUTE.match(address) else None


def _make_extensions(*, math_latex: bool) -> comrak.ExtensionOptions:
    options = comrak.ExtensionOptions()
    for name in ("table", "strikethrough", "autolink", "tasklist", "math_dollars", "cjk_friendly_emphasis"):
        setattr(options, name, True)
    options.math_latex = math_latex
    return options


def choose_extensions(source: str) -> comrak.ExtensionOptions:
    """Return the extensions for a source: without formulas in brackets if it has too many brackets."""
    brackets = source.count("\\(") + source.count("\\[")
    return EXTENSIONS if brackets <= TEX_BRACKETS else WITHOUT_TEX_BRACKETS


def _make_render_options() -> comrak.RenderOptions:
    options = comrak.RenderOptions()
    options.escape = True
    options.hardbreaks = True
    return options


EXTENSIONS = _make_extensions(math_latex=True)
WITHOUT_TEX_BRACKETS = _make_extensions(math_latex=False)
PARSING = comrak.ParseOptions()
RENDERING = _make_render_options()


def convert_to_html(source: str, *, is_growing: bool = False, has_open_code: bool = False) -> str:
    """Return the safe HTML of a Markdown source, without a newline at its end.

    Code that still grows gets its colours when it is closed: colouring it again for each line would cost too much.
    """
    if len(source) <= SHORT_CHARS and not (has_open_code or JOINT in source or (is_growing and "<" in source)):
        return convert_short(source)
    convert = partial(_convert, is_growing=is_growing, has_open_code=has_open_code)
    return convert_with_joints(source, convert) if JOINT in source else convert(source)


@lru_cache(1024)
def convert_short(source: str) -> str:
    """Return the HTML of a short source, from the cache if it is there."""
    return _convert(source, is_growing=False, has_open_code=False)


def _convert(source: str, *, is_growing: bool, has_open_code: bool) -> str:
    marked = mark_details(source, is_growing=is_growing)
    masked, standins = mask(marked if marked is not None else source)
    rough = comrak.render_markdown(masked, choose_extensions(source), PARSING, RENDERING)
    rough = show_bars(rough)
    if BETWEEN in source:
        rough = rough.replace(BETWEEN, "").replace(quote(BETWEEN), "")
    if standins is not None:
        rough = standins.restore(rough)
    last = rough.rfind("<pre>") if has_open_code else -1
    rough, code = (rough[:last], rough[last:]) if last >= 0 else (rough, "")
    for pattern, replacement, most in _REPLACEMENTS:
        rough = pattern.sub(replacement, rough, count=most)
    rough += _CODE.sub(_render_plain_code, code)
    if marked is None:
        return _BEFORE_BLOCK_TAG.sub("", sanitise(rough)).rstrip("\n")
    restored = _BEFORE_BLOCK_TAG.sub("", sanitise(restore_details(rough, is_growing=is_growing)))
    return restored.rstrip("\n").replace('<details open="">', "<details open>")


def sanitise(rough: str) -> str:
    """Return HTML with nothing in it but the tags, attributes and addresses that are allowed."""
    return SANITISER.clean(rough)


def render_code_block(text: str, info: str) -> str:
    """Return the HTML of a finished block of code, coloured if its language is named and known."""
    return sanitise(render_code_start(info, "highlight") + highlight_code(text, info) + CODE_END)


def render_details(summary: str, inside: str, *, is_open: bool) -> str:
    """Return the HTML of details. The summary is Markdown, `inside` is safe HTML."""
    head = convert_to_html(summary)
    if head.startswith("<p>") and head.find("</p>") == len(head) - len("</p>"):
        head = head.removeprefix("<p>").removesuffix("</p>")
    else:
        head = html.escape(summary)
    return f"<details{' open' if is_open else ''}><summary>{head}</summary>{inside}</details>"


@lru_cache(128)
def _highlight_cached(text: str, info: str) -> str:
    """Return coloured code, from the cache if it is there: code in an item that grows is rendered many times."""
    return highlight_code(text, info)


_CODE = re.compile(r'<pre><code(?: class="language-([^"]*)")?>(.*?)</code></pre>', re.DOTALL)


def _render_plain_code(found: re.Match[str]) -> str:
    return render_code_start(html.unescape(found[1] or "")) + found[2] + CODE_END


def _render_code(found: re.Match[str]) -> str:
    return (
        render_code_start(html.unescape(found[1] or ""), "highlight")
        + (_highlight_cached if len(found[2]) < CACHED_CODE_CHARS else highlight_code)(
            html.unescape(found[2]), found[1] or ""
        )
        + CODE_END
    )


def _render_formula(found: re.Match[str]) -> str:
    source = html.unescape(found[2])
    display = "block" if found[1] == "display" else "inline"
    shown = convert_to_mathml(source, display) if len(source) <= FORMULA_CHARS else None
    return shown or f"<code>{html.escape(source, quote=False)}</code>"


def _render_image(found: re.Match[str]) -> str:
    """Return a link in place of an image: an image would tell another server who reads what."""
    source, text = found[1], found[2] or found[1]
    return f'<a href="{source}">{text}</a>'


def _render_note(found: re.Match[str]) -> str:
    """Return the number of a note, above the line."""
    label, text = html.escape(unquote(html.unescape(found[1]))), found[2]
    return f"<sup>{text[1:]}</sup>" if text.startswith("^") else f"{text}<sup>{label}</sup>"


# comrak writes each row, cell and item on a line of its own. Nothing shows these line ends, but each would be a node
# for the browser (a third of a table's) and 7 bytes in a stream (a quarter of a table's). Code contains no such tags.
_BEFORE_BLOCK_TAG = re.compile(
    r"\n(?=</?(?:t(?:able|head|body|[rhd])|[ou]l|li|p|h[1-6r]|blockquote|pre|div|details)\b)"
)

_FORMULA = re.compile(r'<span data-math-style="(\w+)">(.*?)</span>', re.DOTALL)

# The replacements in their order, each with the most that are made in one block; 0 for all.
_REPLACEMENTS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str, int], ...] = (
    (_CODE, _render_code, 0),
    (_FORMULA, _render_formula, FORMULAS),
    (_FORMULA, r"<code>\2</code>", 0),
    (re.compile(r'<img src="([^"]*)" alt="([^"]*)"(?: title="[^"]*")? />'), _render_image, 0),
    (re.compile(r'<a href="footnote:([^"]*)">(.*?)</a>', re.DOTALL), _render_note, 0),
    (re.compile(r'<input type="checkbox" checked="" disabled="" />'), '<span class="task">☑</span>', 0),
    (re.compile(r'<input type="checkbox" disabled="" />'), '<span class="task">☐</span>', 0),
)
