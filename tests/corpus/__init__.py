"""Answers as models write them, by name."""

from pathlib import Path

CORPUS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.md"))}
