"""Messages, models and usage as JSON, by the public contract in docs/events.md."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone

from chat.accounting.budgets import find_standings
from chat.accounting.quotas import find_standing
from chat.accounting.spending import find_rate
from chat.accounts.model_access import list_allowed_models
from chat.api.steps import list_steps, list_tool_calls
from chat.conversations.context_window import find_context_window
from chat.conversations.effort import find_words_by_level
from chat.conversations.refusals import find_known_capabilities
from chat.core.events import Done, Usage
from chat.core.prices import MILLION
from chat.models import Message, Rating, User


def serialize_message(message: Message, usage: Usage | None = None, rating: Rating | None = None) -> dict[str, Any]:
    """Return a message as JSON, with its reader's rating; a question has only the fields that apply to it.

    The usage is read from the ledger, unless it is given.
    """
    common = {
        "id": str(message.pk),
        "conversation": str(message.conversation_id),
        "parent": message.parent_id and str(message.parent_id),
        "role": message.role,
        "text": message.text,
    }
    if message.role == "user":
        return common
    return {
        **common,
        "model": message.model,
        "asked_model": message.wanted_model,
        "effort": message.effort or None,
        "status": message.status,
        "reasoning": message.reasoning,
        "steps": list_steps(message),
        "tool_calls": list_tool_calls(message.outline),
        "finish_reason": _find_reason(message),
        "response_schema": message.response_schema,
        "position": message.position,
        "checkpoint": _describe_checkpoint(message),
        "error": _serialize_error(message),
        "interruptions": message.interruptions,
        "notices": _list_notices(message),
        "rating": rating and describe_rating(rating),
        "usage": asdict(usage or message.sum_usage()),
        "timings": {
            "queued": message.created_at.isoformat(),
            "first_token_ms": message.first_token_ms,
            "total_ms": message.total_ms,
        },
    }


def _find_reason(message: Message) -> str | None:
    """Return the `reason` of the answer's `done`; None while there is none, and for an interrupted answer."""
    end = None if message.is_live else message.make_terminal()
    return end.reason or None if isinstance(end, Done) else None


def _describe_checkpoint(message: Message) -> dict[str, Any] | None:
    """Return when a live answer was written down last: that renewed its lease."""
    if not message.is_live or message.lease_until is None:
        return None
    at = message.lease_until - timedelta(seconds=settings.CHAT_LEASE)
    return {"at": at.isoformat(), "age_ms": max(0, round((timezone.now() - at).total_seconds() * 1000))}


def describe_rating(rating: Rating) -> dict[str, Any]:
    """Return a rating as its reader sent it, and when."""
    return {
        "value": rating.value,
        "comment": rating.comment,
        "consent": rating.may_be_read,
        "at": rating.updated_at.isoformat(),
    }


def _list_notices(message: Message) -> list[dict[str, str]]:
    """Return the remarks that stay with an answer."""
    remarks = (entry for entry in message.outline if isinstance(entry, dict) and entry["type"] == "remark")
    return [{"code": remark["code"], "message": remark["message"]} for remark in remarks]


def _serialize_error(message: Message) -> dict[str, Any] | None:
    if not message.error_code:
        return None
    return {"code": message.error_code, "message": message.error_message, "retryable": message.retryable}


def describe_usage(user: User) -> dict[str, Any]:
    """Return a user's limits and budgets in JSON's terms; tokens and counts are numbers, dollars too."""
    standing = find_standing(user)
    limits = [
        {
            "measure": name,
            "limit": _write_number(quota.limit),
            "used": _write_number(quota.used),
            "held": _write_number(quota.reserved),
        }
        | {"resets_at": quota.resets_at.isoformat() if quota.resets_at else None}
        for name, quota in zip(("requests", "live_answers", "tokens", "cost"), standing, strict=True)
    ]
    budgets = [
        {
            "name": row.name,
            "measure": row.measure,
            "period": row.period,
            "limit": _write_number(row.most),
            "used": _write_number(row.used),
            "held": _write_number(row.held),
            "resets_at": row.resets_at.isoformat(),
            "refuses": row.is_hard,
            "shared": row.is_shared,
        }
        for row in find_standings(user.pk)
    ]
    return {"limits": limits, "budgets": budgets}


def describe_models(user: User) -> list[dict[str, Any]]:
    """Return the models that a user may ask, the default first, and what is known of each."""
    return [_describe_model(model) for model in list_allowed_models(user)]


def _describe_model(model: str) -> dict[str, Any]:
    """Return a `provider:model` in JSON's terms: tokens, and US dollars for a million. What is unknown is null."""
    provider, _, name = model.partition(":")
    takes, rate = find_known_capabilities(model), find_rate(model)
    return {
        "id": model,
        "provider": provider,
        "name": name,
        "context_window": find_context_window(model, settings.CHAT_CONTEXT_WINDOWS, takes.context_window),
        "longest_output": takes.longest_output,
        "prices": {
            "input": None if rate.input is None else _write_number(rate.input * MILLION),
            "output": None if rate.output is None else _write_number(rate.output * MILLION),
        },
        "efforts": list(takes.efforts),
        "default_effort": takes.default_effort or None,
        "levels": find_words_by_level(takes),
        "capabilities": {
            "thinking": takes.thinking != "none",
            "tools": takes.tools,
            "temperature": takes.takes_sampling(""),
            "schema": takes.schema != "prompt",
            "images": takes.images,
            "files": takes.files,
        },
        "retires_on": takes.retires_on and takes.retires_on.isoformat(),
        "successor": f"{provider}:{takes.successor}" if takes.successor else None,
    }


def _write_number(amount: Decimal | None) -> int | float | None:
    if amount is None:
        return None
    return int(amount) if amount == int(amount) else float(amount)
