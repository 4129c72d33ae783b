"""One line of text that stands among other text: a title, a name, what a provider said."""

from __future__ import annotations

import re

# Controls of a text's direction reverse what stands behind them, to the end of its paragraph: the site's name in the
# title of a page, the words after a headline. A title of characters that nobody sees could not be clicked. Joiners and
# variation selectors stay: scripts of India and Iran are written with them, and emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]*")


def remove_invisible(text: str) -> str:
    """Return the text without controls, and without characters that nobody sees."""
    return _INVISIBLE.sub("", text)


def join_lines(text: str) -> str:
    """Return the text on one line, without what nobody sees; empty if nothing else is in it."""
    line = " ".join(remove_invisible(text).split())
    return "" if _JOINERS.fullmatch(line) else line
