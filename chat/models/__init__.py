"""The tables of the database. Each noun has a module; the rest of the site imports from here."""

from __future__ import annotations

from chat.models.access import ModelAccess
from chat.models.budgets import Alert, Budget, Delivery
from chat.models.conversations import (
    LIVE,
    MESSAGES_SHOWN,
    STOPPED,
    TITLE_LENGTH,
    UNDO_FOR,
    Conversation,
    ConversationQuerySet,
    Message,
    MessageQuerySet,
    Role,
    Status,
    TitledBy,
    ToolCall,
    sort_branch,
)
from chat.models.exchange import ExchangeJob, ImportedAnswer, ImportedConversation
from chat.models.fallbacks import ModelFallback
from chat.models.limits import Allowance, Limit, Meter, MeterKey, Period, Reservation
from chat.models.logins import LoginTally
from chat.models.next_questions import NextQuestion
from chat.models.prices import ModelPrice
from chat.models.provider_calls import (
    MAX_DOLLARS,
    NO_USAGE,
    SOUND,
    USAGE_FIELDS,
    ModelHealth,
    Outcome,
    ProviderCall,
    is_plausible,
)
from chat.models.ratings import COMMENT_LENGTH, Rating
from chat.models.refusals import Refusal
from chat.models.saved_selections import SavedSelection
from chat.models.search import SearchEntry
from chat.models.shares import Share
from chat.models.staff_actions import BatchLogEntry, Dismissal, Reading, RetryBatch, RetryItem
from chat.models.usage_totals import (
    COST_UNIT,
    SUM_TABLES,
    SUMS,
    Measure,
    OutcomeHour,
    Pruning,
    TimesDay,
    TimesMonth,
    UsageDay,
    UsageHour,
    UsageMonth,
    UsageMonthHour,
    UserDay,
    UserMonth,
    UserTotal,
)
from chat.models.users import ApiToken, User

__all__ = [
    "COMMENT_LENGTH",
    "COST_UNIT",
    "LIVE",
    "MAX_DOLLARS",
    "MESSAGES_SHOWN",
    "NO_USAGE",
    "SOUND",
    "STOPPED",
    "SUMS",
    "SUM_TABLES",
    "TITLE_LENGTH",
    "UNDO_FOR",
    "USAGE_FIELDS",
    "Alert",
    "Allowance",
    "ApiToken",
    "BatchLogEntry",
    "Budget",
    "Conversation",
    "ConversationQuerySet",
    "Delivery",
    "Dismissal",
    "ExchangeJob",
    "ImportedAnswer",
    "ImportedConversation",
    "Limit",
    "LoginTally",
    "Measure",
    "Message",
    "MessageQuerySet",
    "Meter",
    "MeterKey",
    "ModelAccess",
    "ModelFallback",
    "ModelHealth",
    "ModelPrice",
    "NextQuestion",
    "Outcome",
    "OutcomeHour",
    "Period",
    "ProviderCall",
    "Pruning",
    "Rating",
    "Reading",
    "Refusal",
    "Reservation",
    "RetryBatch",
    "RetryItem",
    "Role",
    "SavedSelection",
    "SearchEntry",
    "Share",
    "Status",
    "TimesDay",
    "TimesMonth",
    "TitledBy",
    "ToolCall",
    "UsageDay",
    "UsageHour",
    "UsageMonth",
    "UsageMonthHour",
    "User",
    "UserDay",
    "UserMonth",
    "UserTotal",
    "is_plausible",
    "sort_branch",
]
