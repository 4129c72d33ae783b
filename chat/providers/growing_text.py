"""Deltas that each repeat the whole text so far: what each of them adds."""

from __future__ import annotations

# Characters, and different ones among them: what is repeated twice, and each time goes on, is a coincidence where it is
# shorter than this ("1", "10", "100") or a line of dashes.
_LEAST_REPEATED = 12
_LEAST_DIFFERENT = 6

# Deltas that are held back at most: as many as of one character each before a text is long enough.
_MOST_HELD = 16


class GrowingText:
    """Returns what the deltas of one text add to it, whichever way the server sends them.

    Some of Alibaba's models send all of the text with each delta (QwenLM/qwen-code#3896). Only a text of which the
    second and the third delta begin with all of the one before is one. Until that is certain the deltas are held back
    after the first one, a few of them; in other texts the second delta ends the matter.
    """

    def __init__(self) -> None:
        self.is_plain = False
        """The deltas add to one another, as they should: nothing more is looked for."""
        self._is_growing = False
        self._whole = ""
        self._said = 0  # characters of the whole that were returned
        self._held: list[str] = []

    def take(self, delta: str) -> str:
        """Return what a delta adds; nothing as long as that is not certain."""
        if self.is_plain or not delta:
            return delta
        if not self._whole:
            self._whole, self._said = delta, len(delta)
            return delta
        if self._is_growing and self._whole.startswith(delta):
            return ""  # once more, at the end
        is_equal = delta == self._whole and not self._is_growing
        if is_equal or len(self._held) == _MOST_HELD or not delta.startswith(self._whole):
            self.is_plain = True
            return f"{self.release()}{delta}"
        is_telling = len(self._whole) >= _LEAST_REPEATED and len(set(self._whole)) >= _LEAST_DIFFERENT
        has_grown = bool(self._held) and len(delta) > len(self._whole) > self._said
        self._is_growing = self._is_growing or (is_telling and has_grown)
        self._whole = delta
        if not self._is_growing:
            self._held.append(delta)
            return ""
        self._held.clear()
        added, self._said = delta[self._said :], len(delta)
        return added

    def release(self) -> str:
        """Return what was held back: no more of the text follows directly, or it is a plain one."""
        held = "".join(self._held)
        self._held.clear()
        self.is_plain = self.is_plain or bool(held)
        return held
