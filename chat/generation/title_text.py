"""The title in a model's reply: without thoughts, politeness, labels and typography."""

from __future__ import annotations

import json
import re
from typing import Any

# Characters. A longer text is no title but an answer, or the model's thoughts about the task.
LONGEST = 150

# Characters of a reply that are searched: a title is at the beginning, and some servers add text without end.
READ_CHARS = 2_000

# For comparisons: the typographic apostrophe, and the full-width colon of Chinese and Japanese.
_PLAIN = str.maketrans({"\u2019": "'", "\uff1a": ":"})

_THOUGHTS = re.compile(
    r"<(think|thinking|thought|thoughts|seed:think)>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# DeepSeek's chat template opens the block in the prompt: only its end is in the reply.
_UNOPENED = re.compile(r"\A.*</(?:think|thinking|thought|thoughts)>", re.DOTALL | re.IGNORECASE)

_FENCE = re.compile(r"^\s*(?:```|~~~).*$", re.MULTILINE)
_JSON_TITLE = re.compile(r'["\'](?:title|name|topic)["\']\s*:\s*(?:"((?:[^"\\]|\\.)*)|\'([^\']*))', re.IGNORECASE)

# Text that models write instead of a title, or about it.
_MUSING = re.compile(
    r"(?:okay|ok|alright|hmm+|well|so|first|let me|let's|i need|i should|i have to|we need|we have to|we are "
    r"asked|the user"
    r"|the question|the conversation|looking at)\b.*\b(?:user|title|conversation|asks?|asked|asking|wants?|words)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"(?:i(?:'m| am)(?: very| so)? sorry|sorry,|i (?:can(?:no|')t|am unable|'m unable|won't)|as an ai\b"
    r"|unfortunately, i)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:(?:the |a |suggested |possible |proposed |conversation |chat |short "
    r")*(?:title|titel|titre|t[ií]tulo|titolo|tytuł|titlu|n[áa]zev|n[áa]zov|naslov|cím|otsikko|rubrik|overskrift|başl\u0131k"
    r"|judul|tiêu đề|название|заголовок|заглавие|назва|τίτλος|assistant)"
    r"|标题|標題|题目|題目|タイトル|題名|제목|(?:ال)?عنوان|כותרת|शीर्षक|ชื่อเรื่อง|หัวข้อ)\s*[:=]\s*",
    re.IGNORECASE,
)
# As `_PREAMBLE`, in other languages.
_FOREIGN_PREAMBLE = re.compile(
    r"(?:(?:voici|hier (?:ist|kommt)|aqu[ií]|ecco|eis|вот|oto|işte|berikut)\b"
    r"|以下|好的|当然|這是|这是|はい|こちら|네|다음)[^:]{0,60}:\s*",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"(?:n/?a|none|null|untitled|no title|new (?:chat|conversation))", re.IGNORECASE)
_COUNT = re.compile(r"\s*\(\d+ (?:words?|characters?|chars?)\)$", re.IGNORECASE)
_COMMAND = re.compile(r"\$?\\(?:boxed|text|textbf|title)\{([^{}]*)\}\$?")

# Characters that are invisible or reverse the direction of text; not the joiners of emoji and of Persian.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_PREAMBLE = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|gladly|okay|ok)[^:]{0,40}:|here(?:'s| is| are)\b[^:]{0,60}:"
    r"|(?:the|a|my|one) (?:\w+ ){0,2}title (?:is|would be|could be|might be)\b[^:]{0,40}?:?)\s*",
    re.IGNORECASE,
)
_POLITE = re.compile(r"(?:sure|certainly|of course|absolutely|gladly)(?: thing)?[!.,]+\s+", re.IGNORECASE)
_MARKER = re.compile(r"(?:#{1,6}|>|[-*+•]|\d{1,2}[.)])\s+")
_ELEMENT = re.compile(r"<(title|answer|output|response|h[1-6]|b|strong|em|i|p)>(.*?)(?:</\1>)?", re.IGNORECASE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_WRAPS = (
    "**",
    "__",
    "~~",
    "*",
    "_",
    "`",
    '"',
    "'",
    "“”",
    "”",
    "„“",
    "„”",
    "\u2018\u2019",
    "«»",
    "»«",
    "「」",
    "『』",
    "《》",
    "【】",
)
_ABBREVIATION = re.compile(r"(?:\b\w\.){2,}$|\.\.\.$")


def extract_title(reply: str) -> str:
    """Return the title in a model's reply on one line; empty when there is none."""
    text = _UNOPENED.sub("", _THOUGHTS.sub("", _INVISIBLE.sub("", reply)))
    text = _FENCE.sub("", text.strip()[:READ_CHARS]).strip()
    if (found := _read_json(text)) is not None:
        text = found
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    for line in lines:
        plain = line.translate(_PLAIN)
        if _MUSING.match(plain) or _REFUSAL.match(plain):
            return ""
        if title := _strip_decoration(line):
            return title if len(title) <= LONGEST else ""
    return ""


def _read_json(text: str) -> str | None:
    """Return the title in JSON that is whole or cut off; None when the text is no JSON."""
    try:
        return _find_first_text(json.loads(text))
    except (ValueError, RecursionError):
        pass
    if not (text.startswith(("{", "[")) or text.endswith("}")):
        return None
    found = _JSON_TITLE.search(text)
    if found is None:
        return "" if text.startswith("{") else None
    if found[1] is None:
        return found[2]
    try:
        return str(json.loads(f'"{found[1]}"'))
    except ValueError:
        return found[1]


def _find_first_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        titles = [part for name, part in value.items() if name.lower() in ("title", "name", "topic")]
        return next((text for part in (*titles, *value.values()) if (text := _find_first_text(part))), "")
    if isinstance(value, list):
        return next((text for part in value if (text := _find_first_text(part))), "")
    return ""


def _strip_decoration(line: str) -> str:
    """Return the line without labels and typography around it; empty when it only announces what follows."""
    line = " ".join(_LINK.sub(r"\1", line).split())
    while True:
        before = line
        for pattern in (_POLITE, _PREAMBLE, _FOREIGN_PREAMBLE, _LABEL, _MARKER):
            if found := pattern.match(line.translate(_PLAIN)):
                line = line[found.end() :]
        if found := _ELEMENT.fullmatch(line):
            line = found[2]
        if found := _COMMAND.fullmatch(line):
            line = found[1]
        line = _unwrap(_COUNT.sub("", line.strip()))
        if line.endswith((".", "\u3002", "\uff0e")) and not _ABBREVIATION.search(line):
            line = line[:-1].rstrip()
        if line == before:
            return "" if line.translate(_PLAIN).endswith(":") or _NOTHING.fullmatch(line) else line


def _unwrap(line: str) -> str:
    """Return the line without one pair of marks around it, or around its label."""
    for wrap in _WRAPS:
        left, right = (wrap[0], wrap[1]) if len(wrap) == 2 and wrap[0] != wrap[1] else (wrap, wrap)
        if len(line) > len(left) + len(right) and line.startswith(left) and line.endswith(right):
            inner = line[len(left) : -len(right)]
            if left not in inner and right not in inner:
                return inner.strip()
        # **Title:** X
        if left == right and line.startswith(left) and (end := line.find(right, len(left))) > 0:
            label = line[len(left) : end]
            if _LABEL.fullmatch(label) or _LABEL.fullmatch(f"{label}:"):
                return f"{label}{line[end + len(right) :]}"
    return line
