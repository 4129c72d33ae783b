"""A filter for the text that a server sends back before it continues an answer."""

from __future__ import annotations


class EchoFilter:
    """Drops from the beginning of a continuation what the answer has already, in pieces cut anywhere.

    Some servers send the beginning that they were given back before they go on (llama.cpp's Messages API), and small
    models write it again. It is compared with what was sent, character by character: what differs from it anywhere is
    the model's own text, all of it. The white space at the end of the beginning was cut before it was sent, as
    Anthropic refuses it, so the model may write it once more: that much of it is dropped too.
    """

    def __init__(self, beginning: str) -> None:
        self._sent = beginning.rstrip()
        self._echoed = 0  # characters of it that came back so far
        self._blank = beginning[len(self._sent) :]
        self.is_over = not beginning
        """The continuation has begun: what comes from now on is its text."""

    def feed(self, piece: str) -> str:
        """Return what of the text so far is certainly new and was not returned before."""
        if self.is_over:
            return piece
        if self._echoed < len(self._sent):
            end = self._echoed + len(piece)
            if self._sent[self._echoed : end] == piece[: len(self._sent) - self._echoed]:
                rest = piece[len(self._sent) - self._echoed :]
                self._echoed = min(end, len(self._sent))
                return self._strip_blank(rest)
            piece, self._echoed = self._sent[: self._echoed] + piece, len(self._sent)
        return self._strip_blank(piece)

    def finish(self) -> str:
        """Return what was held back: nothing more comes, so what looked like an echo was none."""
        if self.is_over or self._echoed == len(self._sent):
            return ""
        held, self._echoed = self._sent[: self._echoed], len(self._sent)
        return self._strip_blank(held)

    def _strip_blank(self, text: str) -> str:
        """Return the text without the white space that the answer has at its end already."""
        if not text:
            return ""
        same = 0
        while same < min(len(self._blank), len(text)) and self._blank[same] == text[same]:
            same += 1
        text, self._blank = text[same:], self._blank[same:]
        self.is_over = bool(text) or not self._blank
        return text
