"""The marks of ChatGPT's page in a text: names, links, citations and widgets between private characters."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from chat.core.events import make_storable
from chat.providers.sources import write_link_to

_MARK = re.compile("\ue200([^\ue200\ue201]{0,2000})\ue201")
_LEFT_OVER = re.compile("[\ue200-\ue202]")

# No sentence needs more pages than this behind it.
MAX_CITED = 5


class Marks:
    """Replaces the marks in one message's texts; `references` are what its metadata says of them."""

    def __init__(self, references: object, left_out: Counter[str]) -> None:
        self._left_out = left_out
        self._pages: dict[str, list[tuple[Any, Any]]] = {}  # addresses and titles, by the mark that they belong to
        for reference in references if isinstance(references, list) else []:
            if isinstance(reference, dict) and isinstance(mark := reference.get("matched_text"), str):
                self._pages[mark] = list(_list_pages(reference))[:MAX_CITED]

    def replace_in(self, text: str) -> str:
        """Return the text with words and links in the place of marks; what has neither is left out, and counted."""
        return _LEFT_OVER.sub("", _MARK.sub(self._replace, text)) if "\ue200" in text else text

    def _replace(self, found: re.Match[str]) -> str:
        kind, _, rest = found[1].partition("\ue202")
        pages = self._pages.get(found[0], [])
        if kind == "entity" and (name := _read_name(rest)):
            return name
        if kind == "url":
            words, _, address = rest.partition("\ue202")
            addresses = [address, *(page for page, _ in pages)]
            return next(filter(None, (write_link_to(each, words) for each in addresses)), words)
        if links := dict.fromkeys(filter(None, (write_link_to(*page) for page in pages))):
            return f"({', '.join(links)})"
        self._left_out["mark of a citation"] += 1
        return ""


def _list_pages(reference: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    items = reference.get("items")
    for page in items if isinstance(items, list) and items else [reference]:
        if isinstance(page, dict):
            yield page.get("url"), page.get("title")


def _read_name(values: str) -> str:
    """Return the name of an entity, the second of its values; empty where there is none."""
    try:
        listed = json.loads(values)
    except (ValueError, RecursionError):
        return ""
    name = listed[1] if isinstance(listed, list) and len(listed) > 1 else ""
    return make_storable(name) if isinstance(name, str) else ""  # JSON can name what no database keeps
