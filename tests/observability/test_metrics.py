"""What the site counts for its operators, who may read it, and that dashboard and documentation name what there is."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, transaction
from django.test import AsyncClient
from django.utils import timezone
from pytest_django import Settings

from chat.core.events import Usage
from chat.generation import store
from chat.generation.process import get_runner
from chat.generation.verdict import STOPPED_BY_USER
from chat.models import Message, Outcome, ProviderCall
from chat.observability import event_loop, metrics
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.lost_answers import keep_lost_answer
from tests.support.metrics import POOL, find_metric_names, list_exported_samples, make_figures, parse_metrics, scrape
from tests.support.site import Site
from tests.support.sockets import make_session_headers, open_socket
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


async def test_a_complete_answer_is_counted_once_with_its_times(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.script = Script(text="Because of the air.", delay_first=0.3)
    before = await scrape()
    await site.ask(model=model)
    after = await scrape()

    def measure_difference(name: str, **labels: str) -> float:
        return after.get_sample(name, **labels) - before.get_sample(name, **labels)

    assert measure_difference("chat_answers_total", model=model, status="complete", code="") == 1
    assert measure_difference("chat_provider_calls_total", model=model, outcome="complete", code="") == 1
    assert measure_difference("chat_answer_queue_seconds_count", model=model) == 1
    assert measure_difference("chat_answer_first_token_seconds_count", model=model) == 1
    assert measure_difference("chat_answer_first_token_seconds_sum", model=model) >= 0.3
    assert measure_difference("chat_answer_first_token_seconds_bucket", model=model, le="0.25") == 0
    assert measure_difference("chat_answer_duration_seconds_count", model=model, status="complete") == 1
    assert measure_difference("chat_answer_duration_seconds_sum", model=model, status="complete") >= 0.3


async def test_tokens_are_those_of_the_ledger(site: Site, provider: ProviderServer, model: str) -> None:
    before = await scrape()
    await site.ask(model=model)
    call = await ProviderCall.objects.aget()
    after = await scrape()
    for kind in ("input", "output", "cached", "reasoning"):
        labels = {"model": model, "kind": kind}
        grown = after.get_sample("chat_tokens_total", **labels) - before.get_sample("chat_tokens_total", **labels)
        assert grown == getattr(call, f"{kind}_tokens"), kind
    assert call.input_tokens > 0


async def test_a_failed_answer_is_counted_by_its_code(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(status=401)
    before = await scrape()
    await site.ask()
    after = await scrape()
    labels = {"model": OPENAI, "status": "interrupted", "code": "auth_failed"}
    assert after.get_sample("chat_answers_total", **labels) - before.get_sample("chat_answers_total", **labels) == 1
    name = "chat_answer_first_token_seconds_count"
    assert after.get_sample(name, model=OPENAI) == before.get_sample(name, model=OPENAI)


async def test_a_stopped_answer_is_counted_as_stopped(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    before = await scrape()
    answer = await site.begin()
    await provider.wait_for_requests(1)
    await site.stop(answer)
    after = await scrape()
    labels = {"model": OPENAI, "status": "stopped", "code": ""}
    assert after.get_sample("chat_answers_total", **labels) - before.get_sample("chat_answers_total", **labels) == 1


async def test_an_answer_of_a_lost_server_is_counted_by_who_ends_it(site: Site, settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = 0
    labels = {"model": OPENAI, "status": "interrupted", "code": "server_lost"}
    before = await scrape()
    await sync_to_async(keep_lost_answer)(site.user)
    # The process sweeps by itself, too: whichever sweep finds the answer counts it, and no other does.
    await asyncio.gather(*(get_runner().supervisor.sweeper.sweep() for _ in range(3)))

    async def is_ended() -> bool:
        return not await Message.objects.live().owned_by(site.user).aexists()

    await wait_until(is_ended)
    after = await scrape()
    assert after.get_sample("chat_answers_total", **labels) - before.get_sample("chat_answers_total", **labels) == 1
    calls = {"model": OPENAI, "outcome": "interrupted", "code": "server_lost"}
    assert (
        after.get_sample("chat_provider_calls_total", **calls) - before.get_sample("chat_provider_calls_total", **calls)
        == 1
    )


async def test_a_call_whose_settling_is_rolled_back_is_not_counted(site: Site) -> None:
    call = await ProviderCall.objects.acreate(user=site.user, model=OPENAI)
    result = store.CallResult(call, Usage(5, 7), None, 10)

    def settle_and_fail() -> None:
        with transaction.atomic():
            store.settle_call(result, STOPPED_BY_USER)
            transaction.set_rollback(True)

    labels = {"model": OPENAI, "outcome": "stopped", "code": ""}
    before = await scrape()
    await sync_to_async(settle_and_fail)()
    after = await scrape()
    assert after.get_sample("chat_provider_calls_total", **labels) == before.get_sample(
        "chat_provider_calls_total", **labels
    )
    assert (await ProviderCall.objects.aget()).outcome == Outcome.RUNNING


@pytest.mark.parametrize("kind", ["sse", "ndjson", "page"])
async def test_answers_and_their_readers_are_counted_while_they_last(
    site: Site, provider: ProviderServer, kind: str
) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    path = f"/answers/{answer}/stream/" if kind == "page" else f"/api/answers/{answer}/events/"
    accept = "application/x-ndjson" if kind == "ndjson" else "text/event-stream"

    async def read() -> None:
        async for _ in await site.stream(path, accept=accept):
            pass

    readers = [asyncio.ensure_future(read()) for _ in range(3)]

    async def are_counted() -> bool:
        now = await scrape()
        return now.get_sample("chat_followers", kind=kind) == 3 and now.get_sample("chat_live_answers") == 1

    await wait_until(are_counted)
    provider.release()
    await asyncio.wait_for(asyncio.gather(*readers), 15)

    async def are_gone() -> bool:
        now = await scrape()
        return now.get_sample("chat_followers", kind=kind) == 0 and now.get_sample("chat_live_answers") == 0

    await wait_until(are_gone)


async def test_a_socket_is_a_reader_of_each_answer_it_follows(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    async with open_socket(make_session_headers(site)) as socket:
        await socket.say(type="send", content="Hello")
        await provider.wait_for_requests(1)

        async def is_counted() -> bool:
            return (await scrape()).get_sample("chat_followers", kind="ws") == 1

        await wait_until(is_counted)
        provider.release()
        await socket.receive_to_the_end()

    async def is_gone() -> bool:
        return (await scrape()).get_sample("chat_followers", kind="ws") == 0

    await wait_until(is_gone)


async def test_a_model_that_is_not_offered_is_other(site: Site, settings: Settings) -> None:
    before = await scrape()
    for number in range(50):
        metrics.count_end(f"openai:made-up-{number}", "complete", "")
        metrics.count_start(f"openai:made-up-{number}", timezone.now() - timedelta(seconds=2))
        metrics.count_retry(f"openai:made-up-{number}", "rate_limited")
    after = await scrape()
    labels = {"model": "other", "status": "complete", "code": ""}
    assert after.get_sample("chat_answers_total", **labels) - before.get_sample("chat_answers_total", **labels) == 50
    assert after.get_sample("chat_retries_total", model="other", code="rate_limited") >= 50
    assert after.get_sample("chat_answer_queue_seconds_sum", model="other") >= 100
    assert not [labels for _, labels in after if any("made-up" in value for _, value in labels)]


async def test_events_that_have_not_happened_are_counted_as_zero(site: Site, settings: Settings) -> None:
    """Prometheus does not count the first appearance of a series as an increase."""
    settings.CHAT_MODELS = ["demo:never-asked"]
    get_runner().prepare()
    now = await scrape()
    for status, code in (("complete", ""), ("stopped", ""), ("interrupted", "auth_failed"), ("interrupted", "timeout")):
        labels = {"model": "demo:never-asked", "status": status, "code": code}
        assert now[("chat_answers_total", frozenset(labels.items()))] == 0


async def test_no_label_names_a_user_an_answer_or_a_word(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Xylophone")
    answer = await site.ask("Zanzibar", model=ANTHROPIC)
    response = await site.get("/metrics")
    body = response.content.decode()
    for word in (site.user.username, answer["id"], answer["conversation"], "Xylophone", "Zanzibar", "sk-test"):
        assert word not in body


async def test_the_loop_is_late_while_something_holds_it(site: Site) -> None:
    before = await scrape()
    pulse = event_loop.Pulse()
    pulse.wake()
    await asyncio.sleep(0.3)
    for _ in range(3):
        time.sleep(1.2)  # noqa: ASYNC251 - this is what is to be noticed
        assert pulse.lag > 0.8
        await asyncio.sleep(0.01)
    assert pulse.lag > 0.5
    await pulse.aclose()
    after = await scrape()
    late = {"le": "0.5"}
    count, short = "chat_event_loop_lag_seconds_count", "chat_event_loop_lag_seconds_bucket"
    assert (after.get_sample(count) - before.get_sample(count)) - (
        after.get_sample(short, **late) - before.get_sample(short, **late)
    ) >= 3
    assert after.get_sample("chat_event_loop_lag_mean_seconds") > before.get_sample("chat_event_loop_lag_mean_seconds")


def test_one_long_delay_of_the_loop_vanishes_in_the_mean_of_many() -> None:
    """Importing an SDK holds the loop for a second, once."""
    pulse = event_loop.Pulse()
    now = time.monotonic()
    for _ in range(9):
        pulse.add_sample(now - event_loop.LAG_WINDOW - 1, 60.0)
    for number in range(36, 0, -1):
        pulse.add_sample(now - number / 4, 0.001)
    pulse.add_sample(now, 1.5)
    assert 0.01 < pulse.lag < 0.1


async def test_checkpoints_age_when_they_fail(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    await site.begin()
    await provider.wait_for_requests(1)
    written = (await scrape()).get_sample("chat_checkpoint_seconds_count")

    async def is_written() -> bool:
        return (await scrape()).get_sample("chat_checkpoint_seconds_count") > written

    await wait_until(is_written)

    def fail(*_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(store, "write_checkpoint", fail)

    async def is_old() -> bool:
        return (await scrape()).get_sample("chat_checkpoint_age_seconds") > 0.7

    await wait_until(is_old)
    monkeypatch.undo()

    async def is_fresh() -> bool:
        return (await scrape()).get_sample("chat_checkpoint_age_seconds") < 0.5

    await wait_until(is_fresh)


async def test_a_draining_process_says_so(site: Site) -> None:
    assert (await scrape()).get_sample("chat_draining") == 0
    get_runner().draining = True
    assert (await scrape()).get_sample("chat_draining") == 1


def test_the_pool_of_connections_tells_who_waited() -> None:
    told = parse_metrics(metrics.render_scrape(make_figures(pool=POOL)).decode())
    assert (
        told.get_sample("chat_database_connections", state="idle"),
        told.get_sample("chat_database_connections", state="used"),
    ) == (
        2,
        3,
    )
    assert told.get_sample("chat_database_waiting") == 1
    assert told.get_sample("chat_database_waits_total") == 7
    assert told.get_sample("chat_database_wait_seconds_total") == 1.5


async def test_the_process_tells_of_itself(site: Site) -> None:
    now = await scrape()
    assert now.get_sample("process_resident_memory_bytes") > 1_000_000
    assert now.get_sample("process_open_fds") > 0
    assert now.get_sample("chat_broker_up", broker="memory") == 1


# Who may read it


class From(AsyncClient):
    """A client at an address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._base_scope(**request)  # type: ignore[misc]  # django-stubs do not know it
        return {**scope, "client": [self._address, 4000]}


async def read_response(
    client: AsyncClient, path: str = "/metrics", method: str = "get", **headers: str
) -> tuple[int, str]:
    """Return status and body, without what differs between any two responses."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response: Any = await getattr(client, method)(path, headers=names)
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())
    return response.status_code, body


STRANGER = "203.0.113.9"


@pytest.mark.parametrize("role", ["anonymous", "user", "admin"])
async def test_metrics_do_not_exist_for_anybody_from_another_network(site: Site, role: str, settings: Settings) -> None:
    settings.CHAT_METRICS_TOKEN = "a token of the monitor"
    client = From(STRANGER)
    if role == "admin":
        site.user.is_staff = site.user.is_superuser = True
        await site.user.asave()
    if role != "anonymous":
        await client.aforce_login(site.user)
    nothing = await read_response(client, "/metricz")
    assert nothing[0] == 404
    assert await read_response(client) == nothing
    assert await read_response(client, authorization="Bearer wrong") == nothing
    assert await read_response(client, method="post") == await read_response(client, "/metricz", method="post")


async def test_metrics_do_not_exist_from_another_network_under_a_foreign_host_either(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A scanner asks by the address; other paths of a foreign host are refused with 400."""
    for method in ("get", "head"):
        response: Any = await getattr(From(STRANGER), method)("/metrics", headers={"host": "evil.example:8000"})
        assert response.status_code == 404
    assert "Traceback" not in caplog.text
    assert "DisallowedHost" not in caplog.text


async def test_the_token_opens_metrics_from_anywhere(site: Site, settings: Settings) -> None:
    client = From(STRANGER)
    assert (await read_response(client, authorization="Bearer "))[0] == 404
    settings.CHAT_METRICS_TOKEN = "a token of the monitor"
    status, body = await read_response(
        client, authorization="Bearer a token of the monitor", x_forwarded_for="198.51.100.1"
    )
    assert status == 200
    assert "chat_answers_total" in body


@pytest.mark.parametrize(
    ("address", "networks", "status"),
    [
        ("127.0.0.1", ["127.0.0.0/8", "::1/128"], 200),
        ("::1", ["127.0.0.0/8", "::1/128"], 200),
        ("::ffff:127.0.0.1", ["127.0.0.0/8"], 200),
        ("10.1.2.3", ["127.0.0.0/8"], 404),
        ("10.1.2.3", ["10.0.0.0/8"], 200),
        ("127.0.0.1", [], 404),
        ("", ["0.0.0.0/0"], 404),
    ],
)
async def test_a_network_is_let_in_by_the_peers_address(
    site: Site, settings: Settings, address: str, networks: list[str], status: int
) -> None:
    settings.CHAT_METRICS_NETWORKS = [ip_network(network) for network in networks]
    assert (await read_response(From(address)))[0] == status


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_a_proxys_address_opens_nothing(site: Site, header: str) -> None:
    """nginx on the same machine has the address 127.0.0.1, whoever asks it."""
    assert (await read_response(AsyncClient()))[0] == 200
    assert (await read_response(AsyncClient(), **{header: "127.0.0.1"}))[0] == 404


def list_expressions(panel: Any) -> Iterator[str]:
    """Yield the queries of a panel, and of those inside it."""
    for target in panel.get("targets", []):
        yield target["expr"]
    for inner in panel.get("panels", []):
        yield from list_expressions(inner)


def test_the_dashboard_asks_for_what_there_is_and_leaves_nothing_out() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    asked = find_metric_names(" ".join(list_expressions(dashboard)))
    assert asked <= list_exported_samples()
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in list_exported_samples() if name.startswith("chat_")}
    assert ours == {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked if name.startswith("chat_")}
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["title"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels)


def test_the_page_about_monitoring_explains_every_metric() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    explained = set(re.findall(r"^\| `(chat_[a-z_]+)", page, re.MULTILINE))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in list_exported_samples() if name.startswith("chat_")}
    assert explained == ours
    assert {
        name for name in find_metric_names(page) if not name.startswith("chat_metrics")
    } <= list_exported_samples() | ours
