"""Failures of the SDKs, of the network and of the providers, translated once into the taxonomy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from chat.errors import ChatError
from chat.providers import Prompt

DETAIL_CHARS = 300

# As many characters in a row that stand in the conversation too are a quotation of it, not a coincidence.
QUOTED_CHARS = 12

PLACEHOLDER_KEY = "none"
"""Sent to a server of one's own that asks for no key; the SDKs refuse to send without one."""


def usable_key(api_key: str, base_url: str | None) -> str:
    """The key as a header takes it: without a file's newline; a server of one's own may need none."""
    return api_key.strip() or (PLACEHOLDER_KEY if base_url else "")


@contextmanager
def translated(api_key: str) -> Iterator[None]:
    """Every failure inside leaves as a `ChatError` whose detail is short and does not hold the key."""
    if not api_key:
        raise ChatError("auth_failed", "no API key is configured")
    if not (api_key.isascii() and api_key.isprintable()):
        raise ChatError("auth_failed", "the API key holds characters that no HTTP header can")
    try:
        yield
    except ChatError as error:
        raise _masked(error, api_key) from _silent_on(api_key, error.__cause__)
    except Exception as error:
        raise _masked(_local_failure(error), api_key) from _silent_on(api_key, error)


def _silent_on(api_key: str, cause: BaseException | None) -> BaseException | None:
    """The cause, unless a traceback of it would print the key: some servers repeat it in their message."""
    return None if any(api_key in str(link) for link in _causes(cause)) else cause


def _masked(error: ChatError, api_key: str) -> ChatError:
    detail = error.detail if api_key == PLACEHOLDER_KEY else error.detail.replace(api_key, "***")
    return ChatError(error.code, detail[:DETAIL_CHARS], retry_after=error.retry_after)


def unquoted(detail: str, prompt: Prompt, answer: str = "") -> str:
    """What a provider says of a failure, for the log: without what it repeats of the conversation."""
    said = "\n".join((*(turn.content for turn in prompt.turns), answer))
    kept, at = "", 0
    while at < len(detail):
        length = _length_of_quotation(detail, at, said)
        kept += "…" if length else detail[at]
        at += length or 1
    return kept


def _length_of_quotation(detail: str, at: int, said: str) -> int:
    end = at + QUOTED_CHARS
    if end > len(detail) or detail[at:end] not in said:
        return 0
    while end < len(detail) and detail[at : end + 1] in said:
        end += 1
    return end - at


def _local_failure(error: Exception) -> ChatError:
    """A failure that no provider put into words: the network's, or the SDK's before it sent anything."""
    causes = list(_causes(error))
    detail = " <- ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    # The SDKs call some lost connections a timeout; a real one has a TimeoutError among its causes.
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return ChatError("timeout", detail)
    if isinstance(error, TypeError | ValueError | LookupError):
        return ChatError("bad_request", detail)
    return ChatError("upstream_error", detail)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


_REQUEST_STATUSES = frozenset({400, 404, 405, 409, 413, 422})
_BY_STATUS = {
    401: "auth_failed",
    402: "auth_failed",  # nothing to pay with: an administrator has to look at it, and no retry helps
    403: "auth_failed",
    408: "timeout",
    413: "context_length",
    429: "rate_limited",
    504: "timeout",
}
_PRECISE_WORDS = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "model_context_window_exceeded": "context_length",
    "request_too_large": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
}
_PHRASES = (
    ("maximum context length", "context_length"),
    ("context window", "context_length"),
    ("context size", "context_length"),
    ("prompt is too long", "context_length"),
    ("input length and `max_tokens` exceed", "context_length"),
    ("input length and max_tokens exceed", "context_length"),
    ("content management policy", "content_filter"),
    ("content filtering policy", "content_filter"),
    ("credit balance is too low", "auth_failed"),
)
_WORDS = {
    "rate_limit_error": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "rate_limited",
    "authentication_error": "auth_failed",
    "permission_error": "auth_failed",
    "billing_error": "auth_failed",
    "invalid_api_key": "auth_failed",
    "invalid_request_error": "bad_request",
    "not_found_error": "bad_request",
    "timeout_error": "timeout",
}


def status_failure(response: httpx2.Response, body: object) -> ChatError:
    """The failure that an error status and its body tell of."""
    words, message = _said(body)
    code = _code(response.status_code, words, message)
    detail = " ".join((str(response.status_code), *words)) + f": {message}"
    return ChatError(code, detail, retry_after=retry_after(response.headers))


def stream_failure(body: object) -> ChatError:
    """The failure that an error inside a stream tells of, its HTTP status being 200."""
    words, message = _said(body)
    # Routers put the status of the provider behind them into the code.
    status = next((int(word) for word in words if re.fullmatch("[45][0-9][0-9]", word)), None)
    return ChatError(_code(status, words, message), " ".join(("in the stream:", *words)) + f": {message}")


def _code(status: int | None, words: list[str], message: str) -> str:
    if status is None or status in _REQUEST_STATUSES:
        named = [_PRECISE_WORDS[word] for word in words if word in _PRECISE_WORDS]
        named += [code for phrase, code in _PHRASES if phrase in message.lower()]
        if named:
            return named[0]
    if status is not None:
        return _BY_STATUS.get(status, "bad_request" if 400 <= status < 500 else "upstream_error")
    return next((_WORDS[word] for word in words if word in _WORDS), "upstream_error")


def _said(body: object) -> tuple[list[str], str]:
    """The type and the codes of an error object, lower case, and its message, wherever they are."""
    if isinstance(body, Mapping) and body.get("error"):
        body = body["error"]
    if not isinstance(body, Mapping):
        return [], "" if body is None else str(body)
    inner = [part for name in ("innererror", "details") if isinstance(part := body.get(name), Mapping)]
    words = [
        body.get("type"),
        body.get("code"),
        *(part.get("code", part.get("error_code")) for part in inner),
    ]
    message = body.get("message") or body.get("detail") or ""
    return [str(word).lower() for word in words if isinstance(word, str | int)], str(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After`, which is seconds or a date."""
    if (milliseconds := _seconds(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
