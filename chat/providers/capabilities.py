"""Capabilities of a model: how it thinks, which parameters it refuses, how much it reads and writes, its last day.

`chat.providers.model_table` says it of each model. Nothing here knows Django, an SDK or an HTTP client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Api = Literal["responses", "chat", "messages", "demo"]
ThinkingKind = Literal["none", "budget", "adaptive", "between_tools", "always"]
SchemaKind = Literal["native", "tool", "prompt"]
CachingKind = Literal["none", "automatic", "marked"]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every word for effort that a provider knows, from least to most."""


# Tokens for the thoughts of a model that thinks in any case, about something small.
LEAST_THINKING_ROOM = 2_048


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of one model. The default asks for nothing unusual: most servers have taken it for years.

    `thinking`: "budget" takes a number of tokens, "adaptive" decides by itself and can be asked not to think,
    "between_tools" can be asked to do so nowhere but between calls of tools, "always" cannot. `efforts` are the
    provider's own words, from least to most; none when it takes no such parameter.
    `sampling` means temperature and top_p, `forced_tools` that a call of one tool can be required while the model does
    not think, `prefill` that an answer can be begun for it. `tools_need_no_effort`: Chat Completions take tools only
    with the effort "none". `silent_thinking`: the server may send nothing at all while the model thinks.
    `bound_thoughts`: what it thought is refused when anything before it has changed since.
    Windows and lengths are tokens; None: nobody knows.
    """

    api: Api = "chat"
    thinking: ThinkingKind = "none"
    efforts: tuple[str, ...] = ()
    default_effort: str = ""
    sampling: bool = True
    forced_tools: bool = True
    prefill: bool = False
    schema: SchemaKind = "native"
    tools: bool = True
    tools_need_no_effort: bool = False
    images: bool = False
    files: bool = False
    caching: CachingKind = "none"
    server_tools: bool = False
    context_window: int | None = None
    longest_output: int | None = None
    retires_on: date | None = None
    successor: str = ""
    silent_thinking: bool = False
    bound_thoughts: bool = False

    def choose_effort(self, wish: str) -> str:
        """Return the effort that is nearest to the wish, the lesser of two.

        Empty when the model takes none or nothing was wished for.
        """
        if not wish or not self.efforts or wish in self.efforts:
            return wish if self.efforts else ""
        if wish not in EFFORTS:
            return ""
        wished = EFFORTS.index(wish)
        return min(self.efforts, key=lambda effort: (abs(EFFORTS.index(effort) - wished), EFFORTS.index(effort)))

    def takes_sampling(self, effort: str) -> bool:
        """Return whether a temperature is taken with this effort: OpenAI's models take one while they do not reason."""
        return self.sampling or (self.choose_effort(effort) or self.default_effort) == "none"

    def reserve_for_thinking(self, effort: str) -> int:
        """Return tokens to add to a small limit of a call that is to think as little as possible.

        A model that cannot do without thinking would spend the limit on it: a title of 40 tokens would be empty.
        """
        return LEAST_THINKING_ROOM if effort == "none" and self.thinking == "always" else 0

    def is_retired(self, today: date) -> bool:
        """Return whether the model has been switched off."""
        return self.retires_on is not None and self.retires_on <= today
