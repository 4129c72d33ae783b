"""Answers as models write them, by name."""

from collections.abc import Iterator
from pathlib import Path

CORPUS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.md"))}


def split_into_parts(text: str, chars: int) -> Iterator[str]:
    """Yield the text in parts of whole paragraphs with at least so many characters, for tests that try every place of a
    text and render all of it for each.
    """
    part = ""
    for paragraph in text.split("\n\n"):
        part += f"{paragraph}\n\n"
        if len(part) >= chars:
            yield part
            part = ""
    yield part
