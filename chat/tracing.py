"""What ties log lines and spans to requests and answers.

Spans are made when OpenTelemetry's API is installed, and go wherever its SDK is told to send them; without it nothing
is done. Names and attributes are those of docs/gen-ai/client-inference.md in
https://github.com/open-telemetry/semantic-conventions-genai. No span holds a word of a conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from importlib import import_module
from typing import Any, Protocol

from chat.errors import ChatError
from chat.events import Usage

trace: Any = None
spans_around: Any = None
with suppress(ImportError):  # then nobody wants spans
    trace = import_module("opentelemetry.trace")
    spans_around = import_module("opentelemetry.context")

request_id: ContextVar[str] = ContextVar("request_id", default="-")
answer_id: ContextVar[str] = ContextVar("answer_id", default="")


def context_of(answer: str) -> Context:
    """A new context for an answer's task: it knows the answer, and the request and span that asked for it, and nothing
    else of what was there."""
    context = Context()
    context.run(answer_id.set, answer)
    context.run(request_id.set, request_id.get())
    if trace is not None:
        context.run(spans_around.attach, spans_around.get_current())
    return context


class Call(Protocol):
    """The span of one upstream call."""

    def ended(self, usage: Usage, *, finish_reason: str, error: str, first_token_ms: int | None) -> None:
        """Say how the call ended; `error` is a code of the taxonomy, `finish_reason` is the provider's, or nothing."""
        ...


class _NoSpan:
    """What a call is when nobody wants spans."""

    def ended(self, usage: Usage, *, finish_reason: str, error: str, first_token_ms: int | None) -> None:
        """There is nobody to tell."""


class _Span:
    def __init__(self, span: Any) -> None:
        self._span = span

    def ended(self, usage: Usage, *, finish_reason: str, error: str, first_token_ms: int | None) -> None:
        attributes: dict[str, Any] = {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        if usage.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
        if usage.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        if first_token_ms is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = first_token_ms / 1000
        if finish_reason:
            attributes["gen_ai.response.finish_reasons"] = [finish_reason]
        self._span.set_attributes(attributes)
        if error:
            self.failed(error)

    def failed(self, error: str) -> None:
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.StatusCode.ERROR)


_NO_SPAN = _NoSpan()


@contextmanager
def upstream_call(model: str) -> Iterator[Call]:
    """A span around one upstream call to a `provider:model`. What is raised inside ends it too; only its code or its
    type is kept, because what it says may quote the conversation."""
    if trace is None:
        yield _NO_SPAN
        return
    provider, _, name = model.partition(":")
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": name,
        "gen_ai.request.stream": True,
    }
    span = trace.get_tracer("chat").start_span(f"chat {name}", kind=trace.SpanKind.CLIENT, attributes=attributes)
    if not span.is_recording():
        yield _NO_SPAN
        return
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        call = _Span(span)
        try:
            yield call
        except asyncio.CancelledError:
            raise  # it was cut on purpose: whoever did that says why
        except Exception as error:
            call.failed(error.code if isinstance(error, ChatError) else type(error).__name__)
            raise
