"""Whatever goes wrong at a provider or on the way to it has one code, and no failure holds the key."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from chat.core.errors import ChatError
from chat.providers import errors


def _make_error(**said: object) -> dict[str, object]:
    return {"error": said}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, _make_error(type="invalid_request_error", message="no such field"), "bad_request"),
        (400, _make_error(code="context_length_exceeded", message="long"), "context_length"),
        (400, _make_error(message="This model's maximum context length is 8192 tokens"), "context_length"),
        (400, _make_error(type="invalid_request_error", message="prompt is too long: 9 > 8"), "context_length"),
        (400, _make_error(message="input length and `max_tokens` exceed context limit"), "context_length"),
        (400, _make_error(code="content_filter", message="no"), "content_filter"),
        (400, _make_error(code=None, message="Azure's content management policy"), "content_filter"),
        (400, _make_error(message="no", innererror={"code": "ResponsibleAIPolicyViolation"}), "content_filter"),
        (400, _make_error(message="Your credit balance is too low"), "provider_budget"),
        (401, _make_error(type="invalid_request_error", code="invalid_api_key"), "auth_failed"),
        (402, "", "provider_budget"),
        (403, None, "auth_failed"),
        (404, _make_error(code="model_not_found"), "bad_request"),
        (408, "", "timeout"),
        (409, _make_error(type="conflict_error", message="try again"), "upstream_error"),
        (413, "<html>too large</html>", "context_length"),
        (424, _make_error(message="Request failed during generation: CUDA out of memory"), "upstream_error"),
        (424, {"message": "An error while processing the model", "originalStatusCode": 500}, "upstream_error"),
        (425, "", "upstream_error"),
        (498, _make_error(code="capacity_exceeded", message="Flex tier capacity exceeded"), "rate_limited"),
        (499, _make_error(status="CANCELLED", message="The operation was cancelled."), "upstream_error"),
        (418, "", "bad_request"),
        (422, {"detail": [{"loc": ["body"]}]}, "bad_request"),
        (429, _make_error(code="insufficient_quota", message="context window"), "provider_budget"),
        (500, "oops", "upstream_error"),
        (503, [1], "upstream_error"),
        (504, "", "timeout"),
        (529, _make_error(type="overloaded_error"), "upstream_error"),
        (302, "", "upstream_error"),
    ],
)
def test_an_error_status_has_a_code(status: int, body: object, code: str) -> None:
    failure = errors.describe_status(httpx2.Response(status), body)
    assert failure.code == code
    assert str(status) in failure.detail


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "upstream_error"),
        (_make_error(type="api_error"), "upstream_error"),
        (_make_error(type="server_error", code=None), "upstream_error"),
        (_make_error(type="rate_limit_error"), "rate_limited"),
        (_make_error(code="rate_limit_exceeded", type="tokens"), "rate_limited"),
        (_make_error(type="insufficient_quota"), "provider_budget"),
        (_make_error(type="authentication_error"), "auth_failed"),
        (_make_error(type="permission_error"), "auth_failed"),
        (_make_error(type="invalid_request_error"), "bad_request"),
        (_make_error(type="invalid_request_error", message="prompt is too long"), "context_length"),
        (_make_error(type="not_found_error"), "bad_request"),
        (_make_error(type="timeout_error"), "timeout"),
        (_make_error(code=429, message="from the provider behind"), "rate_limited"),
        (_make_error(code="502"), "upstream_error"),
        (_make_error(code=499, message="cancelled"), "upstream_error"),
        (_make_error(code=498, message="capacity exceeded"), "rate_limited"),
        ({"object": "error", "message": "flat", "code": 400}, "bad_request"),
        ({"error": "just words"}, "upstream_error"),
        ({"error": None}, "upstream_error"),
        ("", "upstream_error"),
    ],
)
def test_an_error_in_the_stream_has_a_code(body: object, code: str) -> None:
    assert errors.describe_stream_failure(body).code == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after-ms": "2s", "retry-after": "7"}, 7),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "2s"}, 2),
        ({"retry-after": "1m30s"}, 90),
        ({"retry-after": "250ms"}, 0.25),
        ({"retry-after": "20 seconds"}, 20),
        ({"retry-after": "2 hours"}, 7200),
        ({"retry-after": "1 min 5 sec"}, 65),
        ({"retry-after": "250 milliseconds"}, 0.25),
        ({"retry-after": "1h1m1s500ms"}, 3661.5),
        ({"retry-after": "2x"}, None),
        ({"retry-after": "2 moons"}, None),
        ({"retry-after": "1ms" * 10_000 + "!"}, None),
        ({"retry-after": "s"}, None),
        ({"retry-after": "2015-10-21T07:28:00Z"}, 0),
        ({"retry-after": "2015-10-21 07:28:00+02:00"}, 0),
        ({"retry-after": "0000-00-00"}, None),
        ({"retry-after": "9" * 400 + "s"}, None),
    ],
)
def test_retry_after_headers_are_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert errors.read_retry_after(headers) == seconds


def test_retry_after_headers_are_read_as_a_date() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert errors.read_retry_after({"retry-after": moment}) == pytest.approx(30, abs=2)


WAITS = [
    ("Rate limit reached for gpt-6 on tokens per min (TPM): Limit 30000. Please try again in 11.054s. Visit …", 11.054),
    ("Rate limit reached on requests per min (RPM). Please try again in 20ms.", None),
    ("Rate limit reached on tokens per day (TPD): Limit 100000. Please try again in 7m12.5s.", 432.5),
    ("Please retry in 45.837906927s.", 45.837906927),
    ("Your requests have exceeded the token rate limit. Please retry after 60 seconds.", 60),
    ("Rate limit is exceeded. Try again in 10 seconds.", 10),
    ("Please try again in a few minutes.", None),
    ("Overloaded, try again in 2 moons", None),
]
DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}


@pytest.mark.parametrize(("message", "seconds"), WAITS)
def test_a_wait_that_only_an_errors_words_name_is_read_from_them(message: str, seconds: float | None) -> None:
    body = {"error": {"code": "rate_limit_exceeded", "message": message}}
    assert errors.describe_stream_failure(body).retry_after == seconds
    response = httpx2.Response(429, json=body)
    assert errors.describe_status(response, response.text).retry_after == seconds
    with_header = httpx2.Response(429, json=body, headers={"retry-after": "3"})
    assert errors.describe_status(with_header, with_header.text).retry_after == 3


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_googles_retry_info_is_a_wait(is_wrapped: bool) -> None:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded.", "details": [DELAY]}
    body: Any = [{"error": error}]
    if is_wrapped:  # by a router
        body = {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": json.dumps(body)}}}
    response = httpx2.Response(429, json=body)
    assert errors.describe_status(response, response.text).retry_after == 37.5
    assert errors.describe_stream_failure(body).retry_after == 37.5


def _translate(key: str, error: Exception) -> ChatError:
    with pytest.raises(ChatError) as caught, errors.translate_failures(key):
        raise error
    return caught.value


def test_no_failure_holds_the_key() -> None:
    key = "sk-very-secret"
    cause = ValueError(f"Incorrect key {key}")
    told = ChatError("auth_failed", f"401: {key}", retry_after=3)
    told.__cause__ = cause
    for failure in (_translate(key, told), _translate(key, cause)):
        assert key not in str(failure)
        assert failure.__cause__ is None
        assert failure.__suppress_context__
    assert _translate(key, told).retry_after == 3


def test_a_failure_of_the_network_has_a_code_and_its_cause() -> None:
    lost = httpx2.ReadError("gone")
    failure = _translate("key", lost)
    assert (failure.code, failure.__cause__) == ("upstream_error", lost)
    slow = httpx2.ConnectTimeout("slow")
    slow.__cause__ = TimeoutError()
    assert _translate("key", slow).code == "timeout"
    assert _translate("key", TypeError("of the SDK, before it sent anything")).code == "bad_request"
    assert _translate("key", ConnectionResetError()).code == "upstream_error"


def test_a_detail_is_short() -> None:
    assert len(_translate("key", ChatError("upstream_error", "x" * 1000)).detail) == 300


@pytest.mark.parametrize("key", ["", "two\nlines", "not…ascii"])
def test_a_key_that_no_header_can_hold_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(ChatError) as caught, errors.translate_failures(key):
        pytest.fail("the request was made")
    assert caught.value.code == "auth_failed"


def test_a_key_from_a_file_and_a_server_without_keys() -> None:
    assert errors.strip_key(" sk-1\n", None) == "sk-1"
    assert errors.strip_key("", "http://localhost:11434/v1") == errors.PLACEHOLDER_KEY
    assert errors.strip_key("", None) == ""
