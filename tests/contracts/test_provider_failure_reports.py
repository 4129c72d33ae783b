"""Every failure of a provider has a cause, and what the provider said of it: its status, its codes, its request id."""

from __future__ import annotations

import pytest

from chat.core.failures import Cause, ProviderReport
from chat.providers.base import Prompt, Provider, Turn
from chat.providers.demo import DemoProvider
from chat.providers.errors import describe_failure
from tests.contracts.hearing import AFTER, KEY, PROMPT, TEXT, Make, get_failure, hear
from tests.provider_server import ProviderServer, Script
from tests.provider_server.anthropic import REQUEST_ID

QUESTION = PROMPT.turns[-1].content

REFUSALS = [
    pytest.param(Script(status=401), Cause.KEY, 401, id="401"),
    pytest.param(Script(status=403), Cause.KEY, 403, id="403"),
    pytest.param(Script(status=402), Cause.BUDGET, 402, id="402"),
    pytest.param(Script(status=429, error_type="insufficient_quota"), Cause.BUDGET, 429, id="429 quota"),
    pytest.param(Script(status=400), Cause.REFUSED_FORM, 400, id="400"),
    pytest.param(Script(status=404), Cause.REFUSED_FORM, 404, id="404"),
    pytest.param(Script(context_length=True), Cause.CONTEXT, 400, id="context length"),
    pytest.param(Script(content_filter=True), Cause.FILTER, 400, id="content filter"),
    pytest.param(Script(status=429), Cause.RATE_LIMIT, 429, id="429"),
    pytest.param(Script(status=500), Cause.STATUS, 500, id="500"),
    pytest.param(Script(status=502, html_page=True), Cause.STATUS, 502, id="502 web page"),
    pytest.param(Script(status=503), Cause.STATUS, 503, id="503"),
    pytest.param(Script(status=529), Cause.STATUS, 529, id="529"),
    pytest.param(Script(status=504), Cause.TIMEOUT, 504, id="504"),
    pytest.param(Script(status=307, location="http://elsewhere.invalid/"), Cause.STATUS, 307, id="redirect"),
]

STREAMS = [
    pytest.param(Script(error_event_after=AFTER, error_type="overloaded_error"), Cause.REPORTED, id="overloaded"),
    pytest.param(Script(error_event_after=AFTER, error_type="rate_limit_error"), Cause.RATE_LIMIT, id="rate limit"),
    pytest.param(Script(malformed_json_after=AFTER), Cause.BAD_ANSWER, id="malformed JSON"),
    pytest.param(Script(long_line_after=AFTER, long_line=9_000_000), Cause.BAD_ANSWER, id="long line"),
    pytest.param(Script(html_page=True), Cause.BAD_ANSWER, id="web page"),
    pytest.param(Script(eof_after=AFTER), Cause.BROKEN_STREAM, id="clean EOF"),
    pytest.param(Script(drop_after=AFTER, drop_by="reset"), Cause.BROKEN_STREAM, id="reset"),
    pytest.param(Script(drop_after=AFTER, drop_by="close"), Cause.BROKEN_STREAM, id="close"),
    pytest.param(Script(drop_after=0, drop_by="reset"), Cause.BROKEN_STREAM, id="reset before a word"),
]


@pytest.mark.parametrize(("script", "cause", "status"), REFUSALS)
async def test_a_refusal_has_its_cause_its_status_and_the_id_of_the_request(
    provider: Provider, server: ProviderServer, script: Script, cause: Cause, status: int
) -> None:
    server.script = script
    error = get_failure(await hear(provider))
    assert (error.cause, error.report.status) == (cause, status)
    if not script.html_page and not script.location:  # a proxy's page has no id
        assert error.report.request_id == REQUEST_ID


@pytest.mark.parametrize(("script", "cause"), STREAMS)
async def test_a_broken_stream_has_its_cause_and_the_id_of_the_request(
    provider: Provider, server: ProviderServer, script: Script, cause: Cause
) -> None:
    server.script = script if script.html_page else Script(**{**vars(script), "text": TEXT})
    error = get_failure(await hear(provider))
    assert error.cause == cause
    if not script.html_page:
        assert error.report.request_id == REQUEST_ID


async def test_the_providers_own_codes_and_words_are_kept(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(status=429, error_type="rate_limit_error", error_message="Slow down, please.")
    report = get_failure(await hear(provider)).report
    assert "rate_limit_error" in report.kind
    assert report.message == "Slow down, please."
    server.script = Script(text=TEXT, error_event_after=AFTER, error_type="overloaded_error", error_message="Too busy.")
    report = get_failure(await hear(provider)).report
    assert "overloaded_error" in report.kind
    assert report.message == "Too busy."


async def test_a_server_that_is_away_is_a_connection_without_a_report(make: Make) -> None:
    async with ProviderServer() as gone:
        url = gone.openai_url
    error = get_failure(await hear(make(base_url=url)))
    assert (error.cause, error.report) == (Cause.CONNECTION, ProviderReport())
    assert "ClientConnectorError" in describe_failure(error, PROMPT).report.message


@pytest.mark.parametrize("place", ["status", "stream"])
async def test_no_report_holds_the_key_or_what_it_repeats_of_the_conversation(
    provider: Provider, server: ProviderServer, place: str
) -> None:
    words = f"Key {KEY} may not ask: {QUESTION}"
    refused = Script(status=400, error_type=KEY, error_message=words)
    server.script = (
        refused
        if place == "status"
        else Script(text=TEXT, error_event_after=AFTER, error_type="api_error", error_message=f"{words} {TEXT[:AFTER]}")
    )
    heard = await hear(provider)
    failure = describe_failure(get_failure(heard), PROMPT, heard.text)
    assert "may not ask" in failure.report.message
    for kept in (failure.report.kind, failure.report.message, failure.report.request_id):
        assert KEY not in kept
        assert QUESTION not in kept
        assert TEXT[:AFTER] not in kept


@pytest.mark.parametrize(
    ("question", "cause", "status"),
    [("rate limit", Cause.RATE_LIMIT, 429), ("fail", Cause.BROKEN_STREAM, None)],
)
async def test_the_demo_says_what_it_fails_of(question: str, cause: Cause, status: int | None) -> None:
    heard = await hear(DemoProvider(pace=0), Prompt("tour", (Turn("user", question),)))
    error = get_failure(heard)
    assert (error.cause, error.report.status, error.report.request_id) == (cause, status, "demo-request")
