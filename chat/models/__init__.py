"""What is kept. Each noun has a module; the rest of the site imports from here."""

from __future__ import annotations

from chat.models.conversations import (
    LIVE,
    MESSAGES_SHOWN,
    STOPPED,
    TITLE_LENGTH,
    Conversation,
    Message,
    MessageQuerySet,
    Role,
    Status,
    ToolCall,
    in_order,
)
from chat.models.ledger import NO_USAGE, TOKEN_FIELDS, ModelHealth, ModelPrice, Outcome, ProviderCall
from chat.models.limits import Allowance, Limit, ModelAccess, Reservation
from chat.models.staff import Dismissal, Reading, RetryBatch, RetryItem
from chat.models.sums import (
    COST_UNIT,
    SUMS,
    Measure,
    Pruning,
    TimesDay,
    TimesMonth,
    UsageDay,
    UsageMonth,
    UserDay,
    UserMonth,
    UserTotal,
)
from chat.models.users import ApiToken, User

__all__ = [
    "COST_UNIT",
    "LIVE",
    "MESSAGES_SHOWN",
    "NO_USAGE",
    "STOPPED",
    "SUMS",
    "TITLE_LENGTH",
    "TOKEN_FIELDS",
    "Allowance",
    "ApiToken",
    "Conversation",
    "Dismissal",
    "Limit",
    "Measure",
    "Message",
    "MessageQuerySet",
    "ModelAccess",
    "ModelHealth",
    "ModelPrice",
    "Outcome",
    "ProviderCall",
    "Pruning",
    "Reading",
    "Reservation",
    "RetryBatch",
    "RetryItem",
    "Role",
    "Status",
    "TimesDay",
    "TimesMonth",
    "ToolCall",
    "UsageDay",
    "UsageMonth",
    "User",
    "UserDay",
    "UserMonth",
    "UserTotal",
    "in_order",
]
