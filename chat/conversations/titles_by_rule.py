"""The title of a conversation by rules, without a model: the gist of its first question that has one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from chat.conversations.greetings import is_small_talk, strip_greeting
from chat.conversations.pasted_text import is_pasted, leave_out_fences
from chat.core.lines import join_lines

# ruff: noqa: RUF001 - stops of many scripts look alike

LONGEST = 60
"""Characters of a title by rules: a line of the sidebar shows some forty."""

# A question may stand before or behind what was pasted; what lies between has no gist.
_HEAD, _TAIL = 20_000, 5_000

# A first line longer than this is no title but a text: the sentence that asks is looked for in all of it.
_LONG_LINE = 200

_SENTENCE_END = re.compile(r"(?<=[.!?…؟।;\u037e])\s+|(?<=[。！？])")
_ASKS = re.compile(r"[?？؟\u037e][\s\"'”’»)\]]*$")

_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")
_TAG = re.compile(
    r"</?(?:a|b|i|u|s|em|strong|p|div|span|br|hr|h[1-6]|script|style|img|ul|ol|li|code|pre|table|thead|tbody|tr|td|th|details"
    r"|summary|sub|sup|kbd|iframe|svg|input|button|form|font|center|blockquote)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)
_LINE_MARK = re.compile(r"^(?:#{1,6}\s+|>\s?|[-*+•]\s+|\d{1,3}[.)]\s+|\[[ xX]\]\s+)+")
_EMPHASIS = re.compile(r"(\*\*\*|\*\*|__|~~|`+|(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)|(?<=\S)_(?!\w))")


def make_title(question: str) -> str:
    """Return the gist of a question on one line of at most 60 characters, without markup.

    Empty for a question that only greets: the next one may have a gist then. A question of nothing but pasted text is
    named as that.
    """
    text = question if len(question) <= _HEAD + _TAIL else f"{question[:_HEAD]}\n{question[-_TAIL:]}"
    prose, fences = leave_out_fences(text)
    lines = [line for line in prose.split("\n") if join_lines(line)]
    spoken = [line for line in lines if not is_pasted(line)]
    sentences = [sentence for line in spoken for sentence in _split_sentences(line)]
    if not sentences and len(lines) == 1 and len(lines[0]) <= LONGEST and not fences:
        return _clean_line(lines[0])
    if not sentences:
        return "Pasted text" if fences or len(spoken) < len(lines) else ""
    first = _clean_line(spoken[0])
    if is_small_talk(_SENTENCE_END.split(first)[0]):
        first = sentences[0]
    has_paste = bool(fences) or len(spoken) < len(lines)
    begins_with_text = text.lstrip().startswith(("```", "~~~")) or lines[0] != spoken[0] or len(first) > _LONG_LINE
    announces = has_paste and first.endswith((":", "："))
    if not first or begins_with_text or announces:
        first = next(filter(_ASKS.search, sentences), sentences[0])
    elif len(first) > LONGEST:
        first = next(_split_sentences(spoken[0]), first)
    return cut_at_word(first.rstrip(" :：,，;"), LONGEST)


def cut_at_word(line: str, most: int) -> str:
    """Return a line of at most `most` characters, cut between words, or between characters where it has no spaces."""
    if len(line) <= most:
        return line
    end = most - 1
    while end > 1 and (
        unicodedata.combining(line[end]) or line[end] in "\u200c\u200d\ufe0e\ufe0f" or _is_joined(line, end)
    ):
        end -= 1
    cut = line[:end]
    if not line[end].isspace() and (space := cut.rfind(" ")) > most // 2:
        cut = cut[:space]
    return cut.rstrip(" ,.;:،、，。") + "…"


def _is_joined(line: str, end: int) -> bool:
    """Return whether a cut before this character would part a sign of several characters, such as an emoji."""
    return line[end - 1] == "\u200d" or unicodedata.category(line[end]) in ("Mn", "Mc", "Me")


def _clean_line(line: str) -> str:
    """Return a line without markup and greeting; empty when nothing is left."""
    plain = strip_greeting(_strip_markup(line))
    return "" if is_small_talk(plain) else plain


def _split_sentences(line: str) -> Iterator[str]:
    """Yield the sentences of a line that are about something."""
    for sentence in _SENTENCE_END.split(_strip_markup(line)):
        if gist := _clean_line(sentence):
            yield gist


def _strip_markup(line: str) -> str:
    plain = _LINE_MARK.sub("", join_lines(_TAG.sub(" ", line)))
    return join_lines(_EMPHASIS.sub("", _LINK.sub(r"\1", plain)))
