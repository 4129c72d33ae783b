"""A provider's prompt cache, and the invoice that follows from it: what of a request had been read before."""

from __future__ import annotations

import json

from chat.core.events import Usage
from tests.provider_server.wire import Json

LEAST = 1_024
"""Tokens below which nothing is cached."""
_STEP = 128
_BYTES_A_TOKEN = 4


class PromptCache:
    """Remembers prompts as OpenAI does: by model and `prompt_cache_key`, in steps of 128 tokens from the beginning.

    A prompt is the bytes that the model reads, in the order in which it reads them: tools, instructions, conversation.
    """

    def __init__(self) -> None:
        self.invoice: list[Usage] = []
        """What each counted request has been charged."""
        self._prompts: dict[tuple[str, str], list[bytes]] = {}

    def bill(self, request: Json, answer: str, reasoning: str, *, pays_for_writing: bool) -> Usage:
        """Put a request on the invoice, and return what is charged for it."""
        prompt = _encode_prompt(request)
        known = self._prompts.setdefault((str(request["model"]), str(request.get("prompt_cache_key", ""))), [])
        read = len(prompt) // _BYTES_A_TOKEN
        longest = max((_count_shared(prompt, earlier) for earlier in known), default=0)
        cached = min(longest // _BYTES_A_TOKEN, read) // _STEP * _STEP
        cached = cached if cached >= LEAST else 0
        known.append(prompt)
        thought = len(reasoning.encode()) // _BYTES_A_TOKEN
        usage = Usage(
            read,
            thought + len(answer.encode()) // _BYTES_A_TOKEN,
            cached_tokens=cached,
            reasoning_tokens=thought,
            written_tokens=read - cached if pays_for_writing and read >= LEAST else 0,
        )
        self.invoice.append(usage)
        return usage


def _count_shared(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if one[:middle] == other[:middle] else (least, middle - 1)
    return least


def _encode_prompt(request: Json) -> bytes:
    parts = [request.get("tools"), request.get("instructions"), request.get("input") or request.get("messages")]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass").rstrip(b"]")
