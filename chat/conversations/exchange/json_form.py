"""The site's own archive of a conversation: one JSON document. docs/export.md describes it, with its schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chat.conversations.exchange.foreign_content import make_tool_name
from chat.conversations.exchange.json_values import (
    take_count,
    take_flag,
    take_list,
    take_moment,
    take_object,
    take_text,
)
from chat.conversations.exchange.portable import (
    Figures,
    MessageStatus,
    PortableCall,
    PortableConversation,
    PortableMessage,
    Source,
    UnreadableError,
    check_tree,
)
from chat.core import json_schema
from chat.core.errors import CODES
from chat.core.events import (
    Continued,
    Lasting,
    Reasoning,
    Remark,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    Usage,
    write_payload,
)
from chat.providers.capabilities import EFFORTS

FORMAT = "chatsite.conversation"

# Grows when a reader of the previous version would misread a document; fields that are added do not change it.
VERSION = 1

STATUSES: tuple[MessageStatus, ...] = ("queued", "streaming", "complete", "stopped", "interrupted")

_USAGE = (
    *("input_tokens", "output_tokens", "cached_tokens", "written_tokens", "written_hour_tokens"),
    *("reasoning_tokens", "searches"),
)
_MODEL = re.compile(r"[a-z_]+:\S{1,180}")
_NO_ID = re.compile(r"[^\x21-\x7e]")
_WORD = re.compile(r"\S{1,20}")


def write_document(conversation: PortableConversation) -> dict[str, Any]:
    """Return a conversation as a document that is ready for JSON."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": conversation.source._asdict(),
        "title": conversation.title,
        "titled_by": conversation.titled_by,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "pinned_at": _write_moment(conversation.pinned_at),
        "archived_at": _write_moment(conversation.archived_at),
        "settings": {
            "system_prompt": conversation.system_prompt,
            "temperature": conversation.temperature,
            "max_tokens": conversation.max_tokens,
            "effort": conversation.effort,
        },
        "leaf": conversation.leaf,
        "messages": [_write_message(message) for message in conversation.messages],
    }


def _write_message(message: PortableMessage) -> dict[str, Any]:
    common = {
        "id": message.number,
        "parent": message.parent,
        "role": message.role,
        "created_at": message.created_at.isoformat(),
    }
    if message.is_question:
        return {**common, "text": message.text}
    figures = message.figures
    losses, breaks, last = figures.interruptions
    return {
        **common,
        "status": message.status,
        "error": message.error_code or None,
        "finish_reason": message.finish_reason or None,
        "model": message.model,
        "asked_model": message.asked_model or None,
        "effort": message.effort or None,
        "omitted": message.omitted,
        "response_schema": message.response_schema,
        "first_token_at": _write_moment(message.first_token_at),
        "finished_at": _write_moment(message.finished_at),
        "parts": [write_payload(part) for part in message.parts],
        "tool_calls": [{**asdict(call), "finished_at": _write_moment(call.finished_at)} for call in message.calls],
        "usage": None if figures.usage is None else asdict(figures.usage),
        "interruptions": {"of_server": losses, "of_provider": breaks, "last": last or None},
        "rating": figures.rating,
    }


def _write_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def is_document(value: Any) -> bool:
    """Return whether a JSON value says that it is a conversation of this form."""
    return isinstance(value, dict) and value.get("format") == FORMAT


def read_document(document: Any) -> PortableConversation:
    """Return the conversation of a document. Raises `UnreadableError` with the field that is wrong."""
    body = take_object(document, "document")
    if not is_document(body):
        raise UnreadableError(f'`format` must be "{FORMAT}".')
    if take_count(body.get("version"), "version") != VERSION:
        raise UnreadableError(f"This file has version {body.get('version')} of its form; this site reads {VERSION}.")
    source = take_object(body.get("source"), "source")
    settings = take_object(body.get("settings") or {}, "settings")
    messages = [_read_message(message) for message in take_list(body.get("messages"), "messages")]
    check_tree(messages)
    leaf = None if body.get("leaf") is None else take_count(body["leaf"], "leaf")
    if leaf is not None and all(message.number != leaf for message in messages):
        raise UnreadableError("`leaf` is none of the messages.")
    found = PortableConversation(
        source=Source(_take_site(source.get("site")), _take_source_id(source.get("id"))),
        title=take_text(body.get("title"), "title"),
        created_at=take_moment(body.get("created_at"), "created_at"),
        updated_at=take_moment(body.get("updated_at"), "updated_at"),
        messages=messages,
        leaf=leaf,
        system_prompt=take_text(settings.get("system_prompt"), "system_prompt"),
        temperature=_read_temperature(settings.get("temperature")),
        max_tokens=take_count(settings.get("max_tokens"), "max_tokens") or None,
        effort=_take_word(settings.get("effort"), "effort"),
        titled_by=_take_author(body.get("titled_by")),
        pinned_at=_take_moment_or_none(body.get("pinned_at"), "pinned_at"),
        archived_at=_take_moment_or_none(body.get("archived_at"), "archived_at"),
    )
    if found.effort and found.effort not in EFFORTS:
        found.left_out["effort that this site does not know"] += 1
        found.effort = ""
    for message in messages:
        _check_schema(message, found)
    return found


def _take_site(value: Any) -> str:
    site = take_text(value, "source.site")
    if not re.fullmatch(r"[a-z]{1,20}", site):
        raise UnreadableError("`source.site` must be a word of small letters.")
    return site


def _take_source_id(value: Any) -> str:
    id_ = take_text(value, "source.id")
    if not 0 < len(id_) <= 200:
        raise UnreadableError("`source.id` must be a text of 1 to 200 characters.")
    return id_


def _take_author(value: Any) -> str:
    author = take_text(value, "titled_by")
    if author not in ("", "rule", "model", "user"):
        raise UnreadableError("`titled_by` must be rule, model, user, or empty.")
    return author


def _read_temperature(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise UnreadableError("`temperature` must be a number from 0 to 2.")
    return float(value)


def _take_word(value: Any, name: str) -> str:
    word = take_text(value, name)
    if word and not (_WORD.fullmatch(word) and word.isprintable()):
        raise UnreadableError(f"`{name}` must be a word.")
    return word


def take_model(value: Any, name: str) -> str:
    """Return a `provider:model`, or nothing. Raises `UnreadableError`."""
    model = take_text(value, name)
    if model and not (_MODEL.fullmatch(model) and model.isprintable()):
        raise UnreadableError(f"`{name}` must be provider:model.")
    return model


def _read_message(value: Any) -> PortableMessage:
    body = take_object(value, "message")
    number = take_count(body.get("id"), "id")
    parent = None if body.get("parent") is None else take_count(body["parent"], "parent")
    created_at = take_moment(body.get("created_at"), "created_at")
    role = body.get("role")
    if role == "user":
        return PortableMessage(number, parent, "user", created_at, text=take_text(body.get("text"), "text"))
    if role != "assistant":
        raise UnreadableError("`role` must be user or assistant.")
    status, code = body.get("status"), take_text(body.get("error"), "error")
    if status not in STATUSES:
        raise UnreadableError(f"`status` must be one of {', '.join(STATUSES)}.")
    if (status == "interrupted") != bool(code) or (code and code not in CODES):
        raise UnreadableError("`error` must be a code of this site for an interrupted answer, and null for others.")
    return PortableMessage(
        number,
        parent,
        "assistant",
        created_at,
        parts=[_read_part(part) for part in take_list(body.get("parts"), "parts")],
        status=status,
        error_code=code,
        finish_reason=_take_word(body.get("finish_reason"), "finish_reason"),
        model=take_model(body.get("model"), "model"),
        asked_model=take_model(body.get("asked_model"), "asked_model"),
        effort=_take_word(body.get("effort"), "effort"),
        omitted=take_count(body.get("omitted"), "omitted"),
        response_schema=body.get("response_schema"),
        first_token_at=_take_moment_or_none(body.get("first_token_at"), "first_token_at"),
        finished_at=_take_moment_or_none(body.get("finished_at"), "finished_at"),
        calls=[_read_call(call) for call in take_list(body.get("tool_calls"), "tool_calls")],
        figures=_read_figures(body),
    )


def _take_moment_or_none(value: Any, name: str) -> datetime | None:
    return None if value is None else take_moment(value, name)


def _check_schema(message: PortableMessage, conversation: PortableConversation) -> None:
    """Remove an answer's schema that the site would refuse from a program."""
    if message.response_schema is None:
        return
    try:
        message.response_schema = json_schema.check_schema(message.response_schema)
    except json_schema.UnusableSchemaError:
        message.response_schema = None
        conversation.left_out["schema that this site does not take"] += 1


def _take_call_id(value: Any) -> str:
    """Return the id of a call, which goes back to a provider with later questions."""
    return _NO_ID.sub("_", take_text(value, "id", 200))


def _read_part(value: Any) -> Lasting:
    body = take_object(value, "part")
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise UnreadableError(f"A part of an answer has a type that this site does not know: {str(kind)[:40]!r}.")
    return _PARTS[kind](body)


def _read_tool_result(body: Mapping[str, Any]) -> ToolResult:
    return ToolResult(
        _take_call_id(body.get("id")),
        take_text(body.get("summary"), "summary", 200),
        take_flag(body.get("ok"), "ok"),
        take_count(body.get("milliseconds"), "milliseconds"),
    )


def _read_remark(body: Mapping[str, Any]) -> Remark:
    code = body.get("code")
    if code not in ("adapted", "empty", "refused", "fallback"):
        raise UnreadableError("`code` of a remark must be adapted, empty, refused or fallback.")
    return Remark(code, take_text(body.get("message"), "message"))


_PARTS: dict[str, Callable[[Mapping[str, Any]], Lasting]] = {
    "token": lambda body: Token(take_text(body.get("content"), "content")),
    "reasoning": lambda body: Reasoning(take_text(body.get("content"), "content")),
    "thought": lambda body: Thought(take_count(body.get("milliseconds"), "milliseconds")),
    "tool_call": lambda body: ToolCall(
        _take_call_id(body.get("id")), make_tool_name(take_text(body.get("name"), "name"))
    ),
    "tool_arguments": lambda body: ToolArguments(_take_call_id(body.get("id")), take_text(body.get("delta"), "delta")),
    "tool_result": _read_tool_result,
    "remark": _read_remark,
    "continued": lambda body: Continued(),
}


def _read_call(value: Any) -> PortableCall:
    body = take_object(value, "tool_call")
    return PortableCall(
        call_id=_take_call_id(body.get("call_id")),
        name=make_tool_name(take_text(body.get("name"), "name")),
        arguments=take_text(body.get("arguments"), "arguments"),
        result=take_text(body.get("result"), "result"),
        summary=take_text(body.get("summary"), "summary", 200),
        ok=take_flag(body.get("ok"), "ok"),
        milliseconds=take_count(body.get("milliseconds"), "milliseconds"),
        finished_at=_take_moment_or_none(body.get("finished_at"), "finished_at"),
    )


def _read_figures(body: Mapping[str, Any]) -> Figures:
    interruptions = take_object(body.get("interruptions") or {}, "interruptions")
    of_server = take_count(interruptions.get("of_server"), "of_server")
    of_provider = take_count(interruptions.get("of_provider"), "of_provider")
    last = _take_word(interruptions.get("last"), "last")
    return Figures(_read_usage(body.get("usage")), (of_server, of_provider, last), _read_rating(body.get("rating")))


def _read_usage(value: Any) -> Usage | None:
    if value is None:
        return None
    body = take_object(value, "usage")
    counts = {name: take_count(body.get(name), name) for name in _USAGE}
    return Usage(**counts, estimated=take_flag(body.get("estimated", True), "estimated"))


def _read_rating(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    body = take_object(value, "rating")
    if body.get("value") not in ("up", "down"):
        raise UnreadableError("`rating.value` must be up or down.")
    return {
        "value": body["value"],
        "comment": take_text(body.get("comment"), "comment", 2000),
        "consent": take_flag(body.get("consent", False), "consent"),
        "at": take_moment(body.get("at"), "at").isoformat(),
    }
