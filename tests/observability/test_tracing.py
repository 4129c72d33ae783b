"""Every upstream call is a span by OpenTelemetry's names for generative AI, if OpenTelemetry is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chat.core.events import Usage
from chat.models import ProviderCall
from chat.observability import tracing
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is exported. A process has one tracer provider for ever, so the tests' own stands in for the global one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def get_only_span(spans: InMemorySpanExporter) -> ReadableSpan:
    [span] = spans.get_finished_spans()
    return span


async def test_a_call_is_a_span_with_its_model_and_usage(
    site: Site, provider: ProviderServer, spans: InMemorySpanExporter, model: str
) -> None:
    await site.ask("Where is Zanzibar?", model=model)
    span = get_only_span(spans)
    kind, _, name = model.partition(":")
    call = await ProviderCall.objects.aget()
    assert (span.name, span.kind, span.status.status_code) == (f"chat {name}", SpanKind.CLIENT, StatusCode.UNSET)
    attributes = dict(span.attributes or {})
    first = attributes.pop("gen_ai.response.time_to_first_chunk")
    assert isinstance(first, float)
    assert 0 <= first < 60
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": kind,
        "gen_ai.request.model": name,
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.response.finish_reasons": ("stop",),
    }


async def test_a_failed_call_says_how_it_failed_and_not_what_was_said(
    site: Site, provider: ProviderServer, spans: InMemorySpanExporter
) -> None:
    provider.script = Script(status=400, error_message="Zanzibar is not allowed")
    await site.ask("Where is Zanzibar?")
    span = get_only_span(spans)
    attributes = dict(span.attributes or {})
    assert (span.status.status_code, attributes["error.type"]) == (StatusCode.ERROR, "bad_request")
    assert "gen_ai.response.finish_reasons" not in attributes
    assert "Zanzibar" not in span.to_json()


async def test_a_stopped_call_is_no_error(site: Site, provider: ProviderServer, spans: InMemorySpanExporter) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    await site.stop(answer)
    span = get_only_span(spans)
    assert span.status.status_code == StatusCode.UNSET
    assert "error.type" not in (span.attributes or {})


async def test_a_call_belongs_to_the_trace_of_the_request_that_asked(
    site: Site, provider: ProviderServer, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("a web framework").start_as_current_span("POST") as request:
        await site.ask()
    call = next(span for span in spans.get_finished_spans() if span.name.startswith("chat "))
    assert call.parent is not None
    assert call.parent.span_id == request.get_span_context().span_id


def test_an_error_that_escapes_ends_the_span_with_its_type(spans: InMemorySpanExporter) -> None:
    with pytest.raises(KeyError), tracing.trace_upstream_call("demo:tour"):
        raise KeyError("Zanzibar")
    span = get_only_span(spans)
    assert (span.attributes or {})["error.type"] == "KeyError"
    assert "Zanzibar" not in span.to_json()


def test_cached_and_reasoning_tokens_are_named_when_there_are_any(spans: InMemorySpanExporter) -> None:
    with tracing.trace_upstream_call("openai:o3") as call:
        call.record_end(
            Usage(9, 8, cached_tokens=7, reasoning_tokens=6), finish_reason="", error="", first_token_ms=None
        )
    attributes = get_only_span(spans).attributes or {}
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 7
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 6


def test_without_an_sdk_the_span_records_nothing() -> None:
    """OpenTelemetry's API makes no spans of its own; its SDK, where it is installed and told to, makes them."""
    code = (
        "from opentelemetry import trace\n"
        "from chat.observability import tracing\n"
        "from chat.core.events import Usage\n"
        "with tracing.trace_upstream_call('demo:tour') as call:\n"
        "    assert not trace.get_current_span().is_recording()\n"
        "    call.record_end(Usage(1, 2), finish_reason='stop', error='', first_token_ms=3)\n"
        "assert tracing.make_answer_context('id')[tracing.answer_id] == 'id'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
