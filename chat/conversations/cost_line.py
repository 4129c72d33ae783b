"""The line below the composer: how full the model's window is, what the conversation has cost, and what is left."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from chat.accounting.formatting import write_dollars
from chat.accounting.spending import describe_rest, find_conversation_spending
from chat.conversations.context_window import find_context_window
from chat.conversations.refusals import find_known_capabilities


class CostLine(NamedTuple):
    """The content of the line. `context` and `window` are in tokens."""

    context: int = 0
    window: int | None = None
    cost: Decimal = Decimal(0)
    rest: str = ""

    @property
    def words(self) -> str:
        """Return the line for people; "" where there is nothing to say."""
        return " · ".join(part for part in (self._context_words, self._cost_words, self.rest) if part)

    @property
    def _context_words(self) -> str:
        if not self.context:
            return ""
        if not self.window:
            return f"{self.context:,} tokens of context"
        return f"{min(100, round(100 * self.context / self.window))} % of context"

    @property
    def _cost_words(self) -> str:
        return f"{write_dollars(self.cost)} so far" if self.cost else ""


def make_cost_line(conversation: UUID, leaf: UUID | None, model: str) -> CostLine:
    """Return the line for the next question to a `provider:model` in a conversation whose branch ends with `leaf`."""
    spent = find_conversation_spending(conversation, leaf)
    listed = find_known_capabilities(model).context_window if model else None
    window = find_context_window(model, settings.CHAT_CONTEXT_WINDOWS, listed) if model else None
    return CostLine(spent.context, window, spent.cost, describe_rest(spent.user_id))
