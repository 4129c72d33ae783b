"""The cost of answers and conversations by the ledger: shown under each answer, and beside the composer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from chat.accounting import ledger
from chat.accounting.budgets import find_standings
from chat.accounting.formatting import write_dollars
from chat.accounting.quotas import find_amounts
from chat.core.events import Usage
from chat.models import COST_UNIT, Message, ProviderCall

_MESSAGE_ID = Message._meta.pk


class Spending(NamedTuple):
    """The tokens and the cost of an answer, of all its tries and steps; without its conversation's title."""

    tokens: int = 0
    cost: Decimal | None = None
    """None when none of its calls had a price."""
    is_estimated: bool = False

    @property
    def words(self) -> str:
        """Tokens and cost in words, such as "1,204 tokens · $0.01"; empty for an answer that used none."""
        if not self.tokens:
            return ""
        tokens = f"{'about ' if self.is_estimated else ''}{self.tokens:,} token{'' if self.tokens == 1 else 's'}"
        return f"{tokens} · {write_dollars(self.cost)}" if self.cost else tokens


_UNITS = "SUM(CAST(ROUND(cost * 100000000) AS BIGINT))"
_ENDED = "outcome <> 'running' AND left_out IS NOT TRUE"


def _bind(key: UUID) -> Any:
    return _MESSAGE_ID.get_db_prep_value(key, connection)


def find_spending(answers: Sequence[UUID]) -> dict[UUID, Spending]:
    """Return the tokens and cost of these answers, with one prepared statement."""
    if not answers:
        return {}
    places = ", ".join(["%s"] * len(answers))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT answer_id, SUM(input_tokens + output_tokens), {_UNITS}, "  # noqa: S608 - our own names
            "MAX(CASE WHEN estimated THEN 1 ELSE 0 END) FROM chat_providercall "
            f"WHERE answer_id IN ({places}) AND purpose = 'answer' AND {_ENDED} GROUP BY answer_id",
            [_bind(key) for key in answers],
        )
        return {
            UUID(str(answer)): Spending(int(tokens), None if units is None else int(units) * COST_UNIT, bool(estimated))
            for answer, tokens, units, estimated in cursor.fetchall()
        }


class ConversationSpending(NamedTuple):
    """The cost of a conversation to its user, with its title, and how full its last answer has left the context."""

    user_id: int
    cost: Decimal
    context: int
    """The tokens that the last call read and wrote: what the next question begins with."""


def find_conversation_spending(conversation: UUID, leaf: UUID | None) -> ConversationSpending:
    """Return the cost of a conversation whose shown branch ends with `leaf`, with one prepared statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT user_id, "  # noqa: S608 - our own names
            f"(SELECT {_UNITS} FROM chat_providercall WHERE answer_id IN "
            f"(SELECT id FROM chat_message WHERE conversation_id = %s) AND billed_to = 'user' AND {_ENDED}), "
            "(SELECT input_tokens + output_tokens FROM chat_providercall WHERE answer_id = %s AND purpose = 'answer' "
            "ORDER BY id DESC LIMIT 1) FROM chat_conversation WHERE id = %s",
            [_bind(conversation), None if leaf is None else _bind(leaf), _bind(conversation)],
        )
        user, units, context = cursor.fetchone()
    return ConversationSpending(user, int(units or 0) * COST_UNIT, int(context or 0))


class Rate(NamedTuple):
    """US dollars for a token that a model reads and for one that it writes; None without a price."""

    input: Decimal | None
    output: Decimal | None


# Tokens by which a rate is found: prices may be in steps, and have eight places.
_SAMPLE = 100_000


def find_rate(model: str) -> Rate:
    """Return the price of one token of a model, for an estimate; cached for a minute."""
    key = f"chat.rate.{model}"
    rate: Rate | None = cache.get(key)
    if rate is None:
        call = ProviderCall(model=model, started_at=timezone.now())
        costs = ledger.find_call_price(call, Usage(_SAMPLE, 0)), ledger.find_call_price(call, Usage(0, _SAMPLE))
        rate = Rate(*(None if cost is None else cost / _SAMPLE for cost in costs))
        cache.set(key, rate, 60)
    return rate


def describe_rest(user_id: int) -> str:
    """Return what a user has left of the limit or budget that is nearest to its end, in words; "" without one."""
    parts = []
    for measure, quota in find_amounts(user_id):
        limit = quota.limit or Decimal(1)
        left = max(Decimal(0), limit - quota.used - quota.reserved)
        parts.append((left / limit, left, measure, "today" if measure == "tokens" else "this month"))
    for budget in find_standings(user_id):
        window = "today" if budget.period == "day" else f"this {budget.period}"
        parts.append((budget.left / budget.most if budget.most else Decimal(0), budget.left, budget.measure, window))
    if not parts:
        return ""
    _, left, measure, window = min(parts)
    return f"{write_dollars(left) if measure == 'cost' else f'{int(left):,} tokens'} left {window}"
