"""Reasoning that a model writes into its text, between tags, as local servers without a reasoning parser send it.

Only blocks at the very beginning count, white space aside: `<think>…</think>`, `<thinking>`, `<thought>`,
`<reasoning>`, `<seed:think>`, Mistral's `[THINK]…[/THINK]`, Kimi's `◁think▷`, and the channels of gpt-oss and Gemma 4,
in upper or lower case. A text that mentions a tag later, or in code, is left alone. A lone `</think>` is text:
DeepSeek's chat template opens the block in the prompt, and what stands before the end tag has been shown by then. Such
a server needs its reasoning parser (vLLM's `--reasoning-parser`, llama.cpp's `--reasoning-format`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from chat.core.events import Reasoning, Token

Piece = tuple[type[Token] | type[Reasoning], str]
"""A piece of text, and whether it is the answer's or reasoning."""

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_CLOSING = {f"<{name}>": f"</{name}>" for name in _NAMES} | {
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>thought": "<channel|>",
}

# Characters of white space that are held back until it is clear what follows: more than any model writes before a tag.
MAX_BLANKS = 100


class InlineThoughts:
    """A separator of reasoning and text. It takes pieces cut anywhere, and its result does not depend on the cuts."""

    def __init__(self) -> None:
        self._held = ""  # may be white space before a tag, or the beginning of one
        self._closing = ""  # of the block that is open
        self._has_thought = False  # in that block
        self._is_after_block = False
        self.is_over = False
        """The text has begun: nothing more is looked for."""

    def feed(self, piece: str) -> Iterator[Piece]:
        """Yield the pieces that are certain now; the caller has to consume them all before the next call."""
        self._held += piece
        while self._held and not self.is_over:
            if self._closing:
                found = re.search(re.escape(self._closing), self._held, re.IGNORECASE)
                end = found.start() if found else max(0, len(self._held) - len(self._closing) + 1)
                yield from self._take_thought(end)
                if found is None:
                    return
                self._held, self._closing, self._is_after_block = self._held[len(self._closing) :], "", True
            elif not self._find_opening():
                return
        if self._held:
            yield Token, self._held
            self._held = ""

    def finish(self) -> Iterator[Piece]:
        """Yield what was held back, at the end of the text. A block that is still open is reasoning."""
        if self._closing:
            yield from self._take_thought(len(self._held))
        elif self._held:
            yield Token, self._held
        self._held, self._closing, self.is_over = "", "", True

    def _find_opening(self) -> bool:
        """Begin a block or the text, if the held text decides which; return whether it does."""
        if self._is_after_block:
            self._held = self._held.lstrip()
        start = self._held.lstrip()
        has_room = len(self._held) - len(start) <= MAX_BLANKS
        tag = next((tag for tag in _CLOSING if start[: len(tag)].lower() == tag), None) if has_room else None
        if tag is not None:
            self._held, self._closing, self._has_thought = start[len(tag) :], _CLOSING[tag], False
            return True
        if has_room and any(tag.startswith(start.lower()) for tag in _CLOSING):
            return False
        self.is_over = True
        return True

    def _take_thought(self, end: int) -> Iterator[Piece]:
        """Yield the held text up to `end` as reasoning, without the white space that begins it."""
        text, self._held = self._held[:end], self._held[end:]
        if not self._has_thought:
            text = text.lstrip()
        if text:
            self._has_thought = True
            yield Reasoning, text
