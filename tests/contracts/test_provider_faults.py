"""Every failure has its code, whatever the provider calls it, and loses no text that came before it."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic

import pytest

from chat.providers.base import Provider
from tests.contracts.hearing import AFTER, DROPS, FAULTS, KEY, PATIENCE, REFUSALS, TEXT, Make, get_failure, hear
from tests.provider_server import ProviderServer, Script

# How long a reader is busy with one batch: enough for the network to tell the client what has happened by then.
BUSY = 0.1


@pytest.mark.parametrize(("script", "code"), REFUSALS)
async def test_a_refused_request_has_its_code(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.script = script
    heard = await hear(provider)
    assert get_failure(heard).code == code
    assert not heard.events


@pytest.mark.parametrize(("script", "code"), FAULTS)
async def test_a_broken_stream_has_its_code_and_the_text_before_it(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.script = replace(script, text=TEXT)
    heard = await hear(provider)
    assert get_failure(heard).code == code
    assert heard.text == TEXT[:AFTER]


@pytest.mark.parametrize(("script", "code"), FAULTS)
async def test_text_that_comes_in_the_same_read_as_the_failure_is_not_lost(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.script = replace(script, text=TEXT, gather_writes=True)
    heard = await hear(provider)
    assert get_failure(heard).code == code
    assert heard.text == TEXT[:AFTER]


@pytest.mark.parametrize("gather_writes", [False, True], ids=["", "in the same write"])
@pytest.mark.parametrize("script", DROPS)
async def test_a_dropped_connection_leaves_the_text_before_it(
    provider: Provider, server: ProviderServer, script: Script, gather_writes: bool
) -> None:
    server.script = replace(script, text=TEXT, gather_writes=gather_writes)
    heard = await hear(provider)
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT[:AFTER]


@pytest.mark.parametrize("script", DROPS)
async def test_text_that_comes_while_the_reader_is_busy_is_not_lost_with_the_connection(
    provider: Provider, server: ProviderServer, script: Script
) -> None:
    server.script = replace(script, text=TEXT, gate_after=4)

    async def stay_busy(text: str) -> None:
        server.release()
        await server.wait_until(lambda: server.open_connections == 0)
        await asyncio.sleep(BUSY)

    heard = await hear(provider, each=stay_busy)
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT[:AFTER]


@pytest.mark.parametrize("after", [0, AFTER, len(TEXT)])
async def test_a_clean_eof_is_never_a_completion(provider: Provider, server: ProviderServer, after: int) -> None:
    server.script = Script(text=TEXT, eof_after=after)
    heard = await hear(provider)
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT[:after]


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_openais_end_marker_is_the_finish_reason(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, no_end_marker=True)
    heard = await hear(provider)
    assert (heard.error, heard.text, heard.finishes) == (None, TEXT, ["stop"])


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_openais_done_without_a_finish_reason_is_no_completion(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(text=TEXT, no_finish=True)
    heard = await hear(provider)
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_anthropics_stop_reason_without_message_stop_is_no_completion(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(text=TEXT, no_end_marker=True)
    heard = await hear(provider)
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        pytest.param(Script(status=429, retry_after=7), 7, id="seconds"),
        pytest.param(Script(status=429, retry_after_ms=1500), 1.5, id="milliseconds"),
        pytest.param(Script(status=503, retry_after=3), 3, id="with 503"),
        pytest.param(Script(status=429, retry_after="soon"), None, id="nonsense"),
        pytest.param(Script(status=429), None, id="absent"),
    ],
)
async def test_the_wait_that_the_provider_asks_for_is_told(
    provider: Provider, server: ProviderServer, script: Script, seconds: float | None
) -> None:
    server.script = script
    assert get_failure(await hear(provider)).retry_after == seconds


async def test_the_wait_may_be_a_date(provider: Provider, server: ProviderServer) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=100)
    server.script = Script(status=429, retry_after=format_datetime(moment, usegmt=True))
    assert get_failure(await hear(provider)).retry_after == pytest.approx(100, abs=PATIENCE)


async def test_a_refused_connection_is_a_provider_that_could_not_be_reached(make: Make) -> None:
    async with ProviderServer() as gone:
        url = gone.openai_url
    assert get_failure(await hear(make(base_url=url))).code == "unreachable"


async def test_a_wrong_key_is_an_authentication_failure(make: Make) -> None:
    assert get_failure(await hear(make(api_key="sk-wrong"))).code == "auth_failed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_no_failure_tells_the_key(provider: Provider, server: ProviderServer, status: int) -> None:
    server.script = Script(status=status, echo_key=True)
    error = get_failure(await hear(provider))
    assert KEY not in error.detail
    assert KEY not in "".join(traceback.format_exception(error))


async def test_a_key_echoed_in_the_stream_is_not_told_either(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(error_event_after=AFTER, error_message=f"Your key {KEY} is tired.")
    error = get_failure(await hear(provider))
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "script",
    [
        *(pytest.param(Script(status=status), id=str(status)) for status in (408, 409, 429, 500, 503, 529)),
        *DROPS,
        pytest.param(Script(eof_after=AFTER), id="clean EOF"),
    ],
)
async def test_no_call_is_made_twice(provider: Provider, server: ProviderServer, script: Script) -> None:
    server.script = script
    get_failure(await hear(provider))
    assert len(server.requests) == 1


async def test_a_line_of_50_mb_is_cut_off_at_the_limit(make: Make, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, long_line_after=AFTER, long_line=50_000_000)
    started = monotonic()
    heard = await hear(make(max_line_bytes=1_000_000))
    assert get_failure(heard).code == "upstream_error"
    assert heard.text == TEXT[:AFTER]
    assert monotonic() - started < 5
    await server.wait_until_closed(server.requests[0])
    # What the kernel buffers on both sides lies between what was sent and what was read.
    assert server.requests[0].sent_bytes < 15_000_000


async def test_a_line_within_the_limit_is_read(make: Make, server: ProviderServer) -> None:
    server.script = Script(text="", long_line=900_000)
    assert (await hear(make(max_line_bytes=1_000_000))).text == "a" * 900_000
