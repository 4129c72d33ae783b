"""Paragraphs: what stands between two texts that are joined."""

from __future__ import annotations

from collections.abc import Iterable

from chat.core.events import make_storable

PARAGRAPH = "\n\n"


def join_paragraphs(texts: Iterable[str]) -> str:
    """Return the texts as paragraphs of one storable text, without the blank ones."""
    return make_storable(PARAGRAPH.join(text for text in texts if text.strip()))
