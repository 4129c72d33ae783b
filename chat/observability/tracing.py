"""The ids that tie log lines to requests and answers, and the spans of upstream calls.

Spans are OpenTelemetry's, and go wherever its SDK is told to send them; without an SDK its API does nothing. Names and
attributes are those of docs/gen-ai/client-inference.md in https://github.com/open-telemetry/semantic-conventions-genai.
No span holds a word of a conversation.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any

from opentelemetry import context as spans
from opentelemetry import trace

from chat.core.errors import ChatError
from chat.core.events import Usage

request_id: ContextVar[str] = ContextVar("request_id", default="-")
answer_id: ContextVar[str] = ContextVar("answer_id", default="")


# A proxy's id is kept when it is harmless in a log line.
_HARMLESS = re.compile(r"[A-Za-z0-9._-]{1,64}")


def choose_request_id(given: str) -> str:
    """Return the id of a request: the one that a proxy gave it, or a new one."""
    return given if _HARMLESS.fullmatch(given) else f"{random.getrandbits(48):012x}"


def make_answer_context(answer: str) -> Context:
    """Return a new context for an answer's task.

    It has the answer's id, and the id and the span of the request that asked for it, and nothing else.
    """
    context = Context()
    context.run(answer_id.set, answer)
    context.run(request_id.set, request_id.get())
    context.run(spans.attach, spans.get_current())
    return context


class CallSpan:
    """The span of one upstream call."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def record_end(self, usage: Usage, *, finish_reason: str, error: str, first_token_ms: int | None) -> None:
        """Record the end: `error` is a code of the taxonomy, `finish_reason` is the provider's, or nothing."""
        if not self._span.is_recording():
            return
        attributes: dict[str, Any] = {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        if usage.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
        if written := usage.written_tokens + usage.written_hour_tokens:
            attributes["gen_ai.usage.cache_creation.input_tokens"] = written
        if usage.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        if first_token_ms is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = first_token_ms / 1000
        if finish_reason:
            attributes["gen_ai.response.finish_reasons"] = [finish_reason]
        self._span.set_attributes(attributes)
        if error:
            self.record_failure(error)

    def record_failure(self, error: str) -> None:
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.StatusCode.ERROR)


@contextmanager
def trace_upstream_call(model: str) -> Iterator[CallSpan]:
    """Put a span around one upstream call to a `provider:model`.

    What is raised inside ends it too; only its code or its type is kept, because what it says may quote the
    conversation.
    """
    provider, _, name = model.partition(":")
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": name,
        "gen_ai.request.stream": True,
    }
    span = trace.get_tracer("chat").start_span(f"chat {name}", kind=trace.SpanKind.CLIENT, attributes=attributes)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        call = CallSpan(span)
        try:
            yield call
        except asyncio.CancelledError:
            raise  # it was cut on purpose, by a caller that says why
        except Exception as error:
            call.record_failure(error.code if isinstance(error, ChatError) else type(error).__name__)
            raise
