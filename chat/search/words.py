"""Words as the index has them: folded, so that case, accents and width do not matter; cut where there are no spaces.

Text of a script without spaces (Chinese, Japanese, Thai …), and Korean, whose words end with particles, is found by any
piece of it: the index has each of its characters and each pair of them. A piece is found where all of its pairs are,
and then looked at once more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LONGEST_WORD = 64
"""Characters of a word that the index has; nobody searches for the end of a longer one."""

# Marks that are not part of a letter in the eyes of whoever searches: accents, Hebrew points, Arabic vowels. Those of
# the scripts of India and South-East Asia are vowels, and stay.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]"
)
_LETTERS_OF_THEIR_OWN = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h", "ŧ": "t",
}  # fmt: skip


class _Folded(dict[int, str]):
    """The folded form of each character, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", chr(code)).casefold())
        folded = "".join(_LETTERS_OF_THEIR_OWN.get(letter, letter) for letter in plain)
        # A syllable of Korean, or a letter of Japanese with its mark, is one character again.
        self[code] = unicodedata.normalize("NFC", folded)
        return self[code]


_FOLDED = _Folded({ord("_"): " "})


def compose(text: str) -> str:
    """Return the text with its characters composed, as `fold` wants it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(composed: str) -> str:
    """Return composed text without case, accents, width and underscores; each character is folded on its own."""
    return composed.lower().replace("_", " ") if composed.isascii() else composed.translate(_FOLDED)


def fold_character(character: str) -> str:
    """Return what `fold` makes of one character: mostly one, but none of an accent, and two of "ß"."""
    return _FOLDED[ord(character)]


def _find_marks() -> str:
    """Return the marks that letters are written with."""
    codes = [*range(0x0300, 0x2000), *range(0xA600, 0xAC00), *range(0x11000, 0x12000)]
    return "".join(chr(code) for code in codes if unicodedata.category(chr(code)).startswith("M"))


# Kana, bopomofo, Han, Hangul; Thai, Lao, Myanmar and Khmer.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u3099-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003fffd"
)
_PICTURES = "\u2190-\u2bff\U0001f000-\U0001faff"
_MARKS = _find_marks()
_LETTER = f"\\w{re.escape(_MARKS)}"
"""Letters, digits and marks of all scripts; a class of a regular expression for folded text."""
_RUN = re.compile(f"[{_LETTER}]+|[{_PICTURES}]")
_ASCII_RUN = re.compile("[a-z0-9]+")
_PIECE = re.compile(f"([{_UNSPACED}]+)|[^{_UNSPACED}]+")


_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_IS_MARK = frozenset(_MARKS)


def is_letter(character: str) -> bool:
    """Return whether a character is a letter, a digit or a mark of any script."""
    return character.isalnum() or character in _IS_MARK


def is_spaced_letter(character: str) -> bool:
    """Return whether a character is a letter of a script with spaces."""
    return is_letter(character) and (character.isascii() or _IS_UNSPACED.match(character) is None)


def find_runs(folded: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of folded text, and whether each is a run of a script without spaces."""
    for run in (_ASCII_RUN if folded.isascii() else _RUN).findall(folded):
        if run.isascii():
            yield run, False
        else:
            for piece in _PIECE.finditer(run):
                yield piece.group(), piece[1] is not None


def cut_run(run: str) -> list[str]:
    """Return what the index has of a run without spaces, if it is searched for: its pairs, or its only character."""
    return [run[start : start + 2] for start in range(len(run) - 1)] or [run]


def split_words(text: str) -> list[str]:
    """Return what the index has of a text, in its order; neighbouring words of a script with spaces are neighbours."""
    words: list[str] = []
    for run, is_unspaced in find_runs(fold(compose(text))):
        if is_unspaced:
            words += cut_run(run)
            if len(run) > 1:
                words += run
        else:
            words.append(run[:LONGEST_WORD])
    return words
