"""Failures of the SDKs, of the network and of the providers, translated once into the taxonomy."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2

from chat.core.errors import ChatError
from chat.core.events import make_storable
from chat.core.failures import Cause, Failure, ProviderReport
from chat.core.lines import remove_invisible
from chat.providers.base import Prompt
from chat.providers.masking import mask_secrets
from chat.providers.wordings import find_code

DETAIL_CHARS = 300
KIND_CHARS = 100

# This many characters in a row that the conversation has too are taken for a quotation of it, not for a coincidence.
QUOTED_CHARS = 12

PLACEHOLDER_KEY = "none"
"""Sent to a server of one's own that asks for no key; the SDKs refuse to send without one."""


def strip_key(api_key: str, base_url: str | None) -> str:
    """Return the key as a header takes it: without a file's newline. A server of one's own may need none."""
    return api_key.strip() or (PLACEHOLDER_KEY if base_url else "")


@contextmanager
def translate_failures(api_key: str) -> Iterator[None]:
    """Raise every failure inside as a `ChatError` whose detail is short and holds no key, this one or another."""
    if not api_key:
        raise ChatError("auth_failed", "no API key is configured")
    if not (api_key.isascii() and api_key.isprintable()):
        raise ChatError("auth_failed", "the API key holds characters that no HTTP header can")
    try:
        yield
    except ChatError as error:
        raise _mask_error(error, api_key) from _drop_telling_cause(api_key, error.__cause__)
    except Exception as error:
        raise _mask_error(describe_local_failure(error), api_key) from _drop_telling_cause(api_key, error)


def _drop_telling_cause(api_key: str, cause: BaseException | None) -> BaseException | None:
    """Return the cause, unless a traceback of it would print a key: some servers repeat it in their message."""
    texts = [str(link) for link in _list_causes(cause)]
    return None if any(api_key in text or mask_secrets(text) != text for text in texts) else cause


# A detail is masked before it is cut, or half of a key would pass for something else; a body may be long.
_READ_CHARS = 4_000


def _mask_error(error: ChatError, api_key: str) -> ChatError:
    report = error.report
    return ChatError(
        error.code,
        _mask_text(error.detail, api_key),
        retry_after=error.retry_after,
        may_pass=error.may_pass,
        is_reported=error.is_reported,
        is_accepted=error.is_accepted,
        cause=error.cause,
        report=ProviderReport(
            report.status,
            _mask_text(report.kind, api_key),
            _mask_text(report.message, api_key),
            "" if api_key in report.request_id else report.request_id,
        ),
        usage=error.usage,
    )


def _mask_text(text: str, api_key: str) -> str:
    text = text[:_READ_CHARS]
    if api_key != PLACEHOLDER_KEY:
        text = text.replace(api_key, "***")
    return mask_secrets(text)[:DETAIL_CHARS]


_IN_QUOTES = re.compile(r"(?<!\w)(?:'[^']+'|\"[^\"]+\"|`[^`]+`|“[^”]+”)(?!\w)")


def describe_failure(error: ChatError, prompt: Prompt, answer: str = "") -> Failure:
    """Return what the ledger keeps of a failure: nothing that the provider repeats of the conversation."""
    report = error.report
    message = report.message or ("" if error.code == "invalid_output" else error.detail)
    if error.cause == Cause.FILTER:  # it may name a word that it found
        message = _IN_QUOTES.sub("…", message)
    kept = ProviderReport(
        report.status,
        remove_invisible(make_storable(drop_quotations(report.kind, prompt, answer)))[:KIND_CHARS],
        remove_invisible(make_storable(drop_quotations(message, prompt, answer)))[:DETAIL_CHARS],
        report.request_id,
    )
    return Failure(error.cause, kept)


def drop_quotations(detail: str, prompt: Prompt, answer: str = "") -> str:
    """Return what a provider says of a failure, without what it repeats of the conversation, in capitals or escaped."""
    conversation = "\n".join((*(turn.content for turn in prompt.turns), answer)).lower()
    if "\\" in detail:
        conversation += "".join(f"\n{json.dumps(conversation, ensure_ascii=is_ascii)}" for is_ascii in (True, False))
    kept, at = "", 0
    lowered = detail.lower()
    lowered = lowered if len(lowered) == len(detail) else detail  # a few capitals are longer in lower case
    while at < len(detail):
        length = _measure_quotation(lowered, at, conversation)
        kept += "…" if length else detail[at]
        at += length or 1
    return kept


def _measure_quotation(detail: str, at: int, conversation: str) -> int:
    end = at + QUOTED_CHARS
    if end > len(detail) or detail[at:end] not in conversation:
        return 0
    while end < len(detail) and detail[at : end + 1] in conversation:
        end += 1
    return end - at


def describe_local_failure(error: Exception) -> ChatError:
    """Return a failure that no provider put into words: the network's, or the SDK's before it sent anything."""
    causes = list(_list_causes(error))
    detail = " <- ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    if any(isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for cause in causes):
        return ChatError("unreachable", detail)
    # The SDKs call some lost connections a timeout; a real one has a TimeoutError among its causes.
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return ChatError("timeout", detail)
    if isinstance(error, TypeError | ValueError | LookupError):
        return ChatError("bad_request", detail)
    # Nothing had come: the stream, if it was to be one, had not begun.
    return ChatError("upstream_error", detail, cause=Cause.CONNECTION)


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def describe_status(response: httpx2.Response, body: object) -> ChatError:
    """Return the failure that an error status and its body tell of."""
    status = response.status_code
    if 300 <= status < 400:
        return _describe_redirect(response)
    words, message = _read_error(body)
    wait = read_retry_after(response.headers)
    code = find_code(status, words, message, is_told_to_wait=wait is not None)
    wait = _find_wait(body, message) if wait is None else wait
    detail = " ".join((str(status), *words)) + f": {message}"
    report = ProviderReport(status, _write_kind(words), message, find_request_id(response.headers))
    return ChatError(code, detail, retry_after=wait, cause=_find_cause(code, Cause.STATUS), report=report)


def _find_cause(code: str, default: Cause) -> Cause | None:
    """Return the code's own cause, or this one where the code says only that the provider failed."""
    return default if code == "upstream_error" else None


def _write_kind(words: list[str]) -> str:
    """Return the types and codes of an error as one text, without its status and the word "error"."""
    return " ".join(word for word in words if not re.fullmatch("[1-5][0-9][0-9]|error", word))


# As OpenAI, Anthropic, Azure, Amazon, LiteLLM and others call it; Cloudflare's says at least which connection it was.
_REQUEST_IDS = (
    *("x-request-id", "request-id", "apim-request-id", "x-ms-request-id", "x-amzn-requestid", "x-litellm-call-id"),
    "cf-ray",
)


def find_request_id(headers: Mapping[str, str]) -> str:
    """Return the id by which a provider finds a request again, from the head of its response; empty where it has none.

    A server may write anything there: only what looks like an id is one.
    """
    found = (headers.get(name, "").strip() for name in _REQUEST_IDS)
    return next((value for value in found if re.fullmatch(r"[A-Za-z0-9][\w.:/+=-]{2,119}", value, re.ASCII)), "")


def _describe_redirect(response: httpx2.Response) -> ChatError:
    """Return a failure: a redirect is not followed, because it would take the conversation and the key elsewhere."""
    target = urlsplit(response.headers.get("location", ""))
    where = f"{target.scheme or 'the same'}://{target.hostname or ''}".removesuffix("://") or "nowhere"
    detail = f"{response.status_code}: redirected to {where}, which is not followed: set the provider's base URL to it"
    report = ProviderReport(response.status_code, message=detail)
    return ChatError("upstream_error", detail, may_pass=False, cause=Cause.STATUS, report=report)


def describe_stream_failure(body: object) -> ChatError:
    """Return the failure that an error inside a stream tells of, its HTTP status being 200."""
    words, message = _read_error(body)
    # Routers put the status of the provider behind them into the code.
    status = next((int(word) for word in words if re.fullmatch("[45][0-9][0-9]", word)), None)
    detail = " ".join(("in the stream:", *words)) + f": {message}"
    code = find_code(status, words, message)
    report = ProviderReport(status, _write_kind(words), message)
    wait = _find_wait(body, message)
    cause = _find_cause(code, Cause.REPORTED)
    return ChatError(code, detail, retry_after=wait, is_reported=True, cause=cause, report=report)


def is_error(body: Mapping[str, Any]) -> bool:
    """Return whether a JSON object, which is an answer or a part of one, is an error instead."""
    if any(has_content(body.get(name)) for name in ("error", "errors", "fault")):
        return True
    minimax = body.get("base_resp")
    if isinstance(minimax, Mapping) and _has_code(minimax):
        return True
    if isinstance(body.get("choices"), list) or isinstance(body.get("content"), list):
        return False
    if "error" in (body.get("object"), body.get("type"), body.get("status")):
        return True
    words, message = _read_error(body)
    is_coded = any(re.fullmatch("[45][0-9][0-9]", word) for word in words)
    return bool(body.get("detail")) or (bool(message) and (is_coded or body.get("success") is False or _has_code(body)))


def has_content(error: object) -> bool:
    """Return whether the member for an error has one: some servers fill it with zeros and empty strings."""
    if isinstance(error, Mapping):
        return any(value not in _NO_ERRORS for value in error.values())
    return error not in _NO_ERRORS


_NO_ERRORS: tuple[Any, ...] = (None, False, "", "null", "none", 0, "0", [], {})
_SUCCESSES: tuple[Any, ...] = (*_NO_ERRORS, 200, "200", "ok", "OK", "success", "Success")


def _has_code(body: Mapping[str, Any]) -> bool:
    """Return whether an error's code stands beside its message, as in `{"message": …, "code": "InvalidParameter"}`."""
    return any(body.get(name) not in _SUCCESSES for name in ("code", "error_code", "status_code", "error_type"))


def _read_error(body: object) -> tuple[list[str], str]:
    """Return the types and codes of an error object, lower case, and its messages, wherever they are."""
    words: list[str] = []
    messages: list[str] = []
    _gather(body, words, messages, 6)
    return list(dict.fromkeys(words)), " ".join(dict.fromkeys(messages))[:4_000]


# The members of an error object, as servers name them: objects that hold more of it, types and codes, the part of the
# request that it is about (OpenAI, FastAPI, Google), and prose.
_INNER_MEMBERS = (
    *("error", "errors", "detail", "details", "innererror", "inner_error", "response", "metadata", "raw", "body"),
    *("base_resp", "fault"),  # MiniMax, Apigee
)
_WORD_MEMBERS = (
    *("type", "code", "error_code", "status", "status_code", "statusCode", "error_type", "errorcode", "reason"),
    "__type",
)
_PARAMETER_MEMBERS = ("param", "loc", "field")
_MESSAGE_MEMBERS = (
    "message",
    "msg",
    "error_message",
    "errorMessage",
    "error_msg",
    "status_msg",
    "faultstring",
    "error_description",
    "description",
    "title",
)


def _gather(part: object, words: list[str], messages: list[str], depth: int) -> None:
    """Collect the words and messages of an error and of what lies in it.

    Routers wrap the errors of the providers behind them, also as JSON in a string; Google sends a list, FastAPI
    `detail`.
    """
    if isinstance(part, str):
        inner = _parse_json(part)
        if inner is None:
            messages += [part.strip()] if part.strip() else []
        else:
            _gather(inner, words, messages, depth)
    elif isinstance(part, list) and depth:
        for item in part[:5]:
            _gather(item, words, messages, depth - 1)
    elif isinstance(part, Mapping) and depth:
        words += [str(word).lower() for name in _WORD_MEMBERS if _is_word(word := part.get(name))]
        words += [place for name in _PARAMETER_MEMBERS if (place := _find_parameter(part.get(name)))]
        for name in (*_MESSAGE_MEMBERS, *_INNER_MEMBERS):
            _gather(part.get(name), words, messages, depth - 1)


def _find_parameter(value: object) -> str:
    """Return which part of the request an error is about: a name, or a path of names and numbers."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return ".".join(str(name) for name in names[:8] if _is_word(name)).lower()


def _is_word(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= 100


def _parse_json(text: str) -> object | None:
    """Return the object or list that a string holds as JSON, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, from `retry-after-ms` or `Retry-After`; None when they name none.

    `Retry-After` has seconds or a date as in RFC 9110; some servers and proxies write a duration with its units, or a
    date by ISO 8601.
    """
    if (milliseconds := _parse_number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    for parse in (_parse_number, _parse_duration):
        if (seconds := parse(value)) is not None:
            return seconds
    if (moment := _parse_date(value)) is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


_DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([a-z]{1,12}) ?"

# In the sentences of OpenAI, Groq, Gemini, Azure and Cloudflare.
_TRY_AGAIN = re.compile(rf"(?:try again|retry) (?:in|after) ((?:{_DURATION}){{1,4}})")


def _find_wait(body: object, message: str) -> float | None:
    """Return the seconds to wait that an error's body tells, where no header does: Gemini, and any error in a stream.

    OpenAI names a few milliseconds while everybody asks: less than a second is left to the usual pauses, which grow.
    """
    found = _TRY_AGAIN.search(message.lower())
    told = [*_list_retry_delays(body, 8), *([found[1]] if found else [])]
    return next((seconds for text in told if (seconds := _parse_duration(text)) is not None and seconds >= 1), None)


def _list_retry_delays(part: object, depth: int) -> Iterator[str]:
    """Yield what Google's `RetryInfo` says in an error and in what lies in it, see `_gather`."""
    part = _parse_json(part) if isinstance(part, str) else part
    if isinstance(part, list) and depth:
        for item in part[:20]:
            yield from _list_retry_delays(item, depth - 1)
    elif isinstance(part, Mapping) and depth:
        if isinstance(delay := part.get("retryDelay"), str):
            yield delay
        for name in _INNER_MEMBERS:
            yield from _list_retry_delays(part.get(name), depth - 1)


def _parse_date(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, OverflowError):
            return parse(text)
    return None


_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
}


def _parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as "1m30s" or "20 seconds"."""
    text = text.lower()
    pieces = re.findall(_DURATION, text) if re.fullmatch(f"(?:{_DURATION}){{1,4}}", text) else []
    if not pieces or any(unit not in _UNITS for _, unit in pieces):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
