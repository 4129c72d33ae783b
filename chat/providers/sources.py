"""The pages that a model cites: those that its text has no link to are listed below it."""

from __future__ import annotations

import re

from chat.core.events import make_storable
from chat.core.lines import join_lines

HEADING = "\n\nSources:\n\n"
"""Begins what is added to a text. An adapter leaves it out of what it sends back."""

# No answer cites more pages than a reader looks at, and no address or title is longer than a line or two. A list that
# the text refers to by number is as long as it has to be.
MAX_SOURCES = 30
MAX_NUMBERED = 100
_LONGEST_ADDRESS = 2_000
_LONGEST_TITLE = 150

_ADDRESS = re.compile(r"https?://[^\s<>\\]+", re.IGNORECASE)
_NUMBER = re.compile(r"(?<!\[)\[\d{1,3}\](?![(\]])")  # `[3]`, and no link
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~$&!])")


class Sources:
    """Gathers the pages that one answer cites, each once, in the order in which it cites them."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}  # by address
        self._linked: set[str] = set()  # addresses that stand in the text
        self._listed: list[tuple[object, object]] = []  # the pages of a list that the text may refer to by number
        self._is_numbered = False  # whether it does

    def add(self, address: object, title: object) -> None:
        """Add a page. What is no address of the web is passed over."""
        if len(self._titles) < MAX_SOURCES and (found := _read_address(address)):
            self._titles.setdefault(found, title if isinstance(title, str) else "")

    def add_annotation(self, annotation: object) -> None:
        """Add the page of a `url_citation`, whose members lie in it or one level deeper. Files have no address."""
        if isinstance(annotation, dict):
            inner = annotation.get("url_citation")
            cited = inner if isinstance(inner, dict) else annotation
            self.add(cited.get("url"), cited.get("title"))

    def add_list(self, pages: object) -> None:
        """Add the pages of a list that came beside the text: addresses, or objects with an address and a title.

        The last list that came counts for what the text refers to by number.
        """
        if not isinstance(pages, list):
            return
        self._listed = [
            (page.get("url") or page.get("link"), page.get("title")) if isinstance(page, dict) else (page, "")
            for page in pages[:MAX_NUMBERED]
        ]
        for address, title in self._listed:
            self.add(address, title)

    def note_links(self, text: str) -> None:
        """Note which of the pages a text of the answer links to."""
        self._linked.update(address for address in self._titles if address in text)
        self._is_numbered = self._is_numbered or (bool(self._listed) and _NUMBER.search(text) is not None)

    def write_markdown(self) -> str:
        """Return the list of the pages that no text links to; empty when there is none.

        Where the text refers to pages by number it is the whole list, in its order.
        """
        if self._is_numbered:
            pages = enumerate(self._listed, 1)
            return HEADING + "\n".join(f"{number}. {_write_page(*page)}" for number, page in pages)
        left = [(address, title) for address, title in self._titles.items() if address not in self._linked]
        return HEADING + "\n".join(f"- {_write_link(address, title)}" for address, title in left) if left else ""


def _read_address(value: object) -> str:
    """Return an address of the web; empty for anything else."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(value) else ""


def write_link_to(address: object, title: object) -> str:
    """Return a link to a page of the web as Markdown; empty where the address is none."""
    found = _read_address(address)
    return _write_link(found, title if isinstance(title, str) else "") if found else ""


def _write_page(address: object, title: object) -> str:
    """Return a link to a page, or words for one without an address: the pages after it keep their numbers."""
    words = title if isinstance(title, str) else ""
    return write_link_to(address, title) or _write_words(words) or "(no address)"


def _write_link(address: str, title: str) -> str:
    return f"[{_write_words(title) or _write_words(address.split('/')[2])}](<{address}>)"


def _write_words(title: str) -> str:
    """Return a title as Markdown that is nothing but these words."""
    words = join_lines(make_storable(title))
    words = words if len(words) <= _LONGEST_TITLE else f"{words[:_LONGEST_TITLE]}…"
    return _MARKUP.sub(r"\\\1", words)
