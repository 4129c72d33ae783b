"""An error in a stream has its code, in whatever form a server sends it; words that all is well are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.providers import errors
from chat.providers.openai_chat_decoder import ChatCompletionsDecoder
from tests.support.wire_formats import MAX_BYTES, PROMPT

IN_A_STREAM: list[tuple[dict[str, Any], str]] = [
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "provider_budget"),
    (
        {
            "base_resp": {
                "status_code": 1004,
                "status_msg": "login fail: Please carry the API secret key in the 'Authorization' field",
            },
            "choices": None,
        },
        "auth_failed",
    ),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}, "choices": None}, "rate_limited"),
    (
        {
            "base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"},
            "choices": None,
        },
        "context_length",
    ),
    ({"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}, "choices": None}, "content_filter"),
    ({"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}, "content_filter"),
    ({"type": "error", "error": {"details": None, "type": "timeout_error", "message": "Request timed out"}}, "timeout"),
    (
        {"type": "error", "error": {"type": "billing_error", "message": "Your credit balance is too low"}},
        "provider_budget",
    ),
    ({"error": {"message": "Provider disconnected", "code": 502}}, "upstream_error"),
    ({"error": {"message": "Rate limit exceeded", "code": 429}}, "rate_limited"),
    ({"error": {"message": "No auth credentials found", "code": 401}}, "auth_failed"),
    ({"error": "error parsing tool call: raw='{x', err=invalid character"}, "upstream_error"),
    ({"detail": "Internal Server Error"}, "upstream_error"),
    ({"error": {"type": "server_error", "code": "rate_limit_exceeded", "message": "slow"}}, "rate_limited"),
    ({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 10 seconds."}, "rate_limited"),
    ({"error_code": 336003, "error_msg": "prompt tokens too long"}, "context_length"),
    ({"status": "error", "message": "Prompt is too long"}, "context_length"),
    ({"title": "Too Many Requests", "status": 429, "detail": "slow"}, "rate_limited"),
    (
        {
            "fault": {
                "faultstring": "Rate limit quota violation. Quota limit  exceeded",
                "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
            }
        },
        "rate_limited",
    ),
]

NO_ERRORS: list[dict[str, Any]] = [
    {"code": 0, "msg": "success", "data": {"x": 1}},
    {"code": 200, "message": "ok", "choices": []},
    {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": None},
    {"id": "x", "object": "chat.completion.chunk", "choices": None, "status": "ok"},
    {"message": "", "code": ""},
    {"object": "queue", "position": 3, "message": "You are in the queue"},
    {"type": "vertex_event", "usage": {}},
    {"warning": "deprecated", "message": "This model is deprecated"},
    {"code": 200, "message": "success"},
    {"status": "success", "message": "Processing"},
    {"success": True, "message": "queued"},
    {"code": "200", "msg": "OK"},
    {"code": 0, "message": "Success"},
    {"error": {"code": 0, "message": ""}, "choices": [{"delta": {"content": "x"}}]},
    {"error": {"code": None, "message": None}},
    {"error": {}},
    {"errors": []},
    {"error": "null"},
]


@pytest.mark.parametrize(("body", "code"), IN_A_STREAM)
def test_an_error_in_a_stream_has_its_code(body: dict[str, Any], code: str) -> None:
    assert errors.is_error(body)
    assert errors.describe_stream_failure(body).code == code


@pytest.mark.parametrize("indent", [None, 1, 2, 4, "\t"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_an_error_that_stands_bare_in_a_stream_has_its_code_on_however_many_lines(
    is_listed: bool, indent: int | str | None
) -> None:
    for body, code in IN_A_STREAM:
        text = json.dumps([body] if is_listed else body, indent=indent, ensure_ascii=False)
        decoder = ChatCompletionsDecoder(MAX_BYTES, PROMPT)
        decoder.feed(b'data: {"choices": [{"delta": {"content": "So"}}]}\n\n')
        decoder.feed(text.encode() + b"\n")
        assert decoder.failure is not None, text
        assert decoder.failure.code == code, text


@pytest.mark.parametrize("body", NO_ERRORS)
def test_words_that_say_all_is_well_are_no_error(body: dict[str, Any]) -> None:
    assert not errors.is_error(body)
