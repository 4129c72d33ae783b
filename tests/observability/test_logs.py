"""Every log line names its request and its answer; none holds a word of a conversation, or a secret."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site_settings
from pytest_django import Settings

from chat.generation import store
from chat.providers.base import Prompt, Turn
from chat.providers.errors import drop_quotations
from chatsite.logs import (
    SAME_REASON_EVERY,
    ConnectingFilter,
    JsonFormatter,
    LineFormatter,
    NamesFilter,
    find_password,
)
from tests.provider_server import ProviderServer, Script
from tests.support.client import Client
from tests.support.databases import serve_new_site
from tests.support.site import Json, Site
from tests.support.waiting import wait_until

QUESTION = "Where did Ada Lovelace hide the marmalade?"


class Log:
    """What is logged, as an operator gets it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.text.splitlines()]

    def find_lines(self, logger: str) -> list[Json]:
        return [line for line in self.lines if line["logger"] == logger]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    handler = logging.StreamHandler(log.stream)
    handler.setFormatter(JsonFormatter(["sk-test", "sk-ant-test"]))
    handler.addFilter(NamesFilter())
    logging.getLogger().addHandler(handler)
    yield log
    logging.getLogger().removeHandler(handler)


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("chat.some", logging.WARNING, "file.py", 1, message, args, trace)


def raise_and_catch(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


async def test_a_failed_answer_is_logged_by_its_id_and_the_id_of_its_request(
    site: Site, provider: ProviderServer, log: Log
) -> None:
    provider.script = Script(status=401)
    conversation = await site.begin_conversation()
    path = f"/api/conversations/{conversation}/messages/"
    response = await site.post(path, {"content": QUESTION}, x_request_id="req-42")
    [line] = log.find_lines("chat.generation.answer_run")
    assert (line["level"], line["request_id"], line["answer"]) == (
        "WARNING",
        "req-42",
        json.loads(response.content)["id"],
    )
    assert "auth_failed" in line["message"]
    assert line["time"].endswith("+00:00")


async def test_quotations_in_a_providers_message_are_not_logged(
    site: Site, provider: ProviderServer, log: Log, model: str
) -> None:
    provider.script = Script(
        status=400, error_type="invalid_request_error", error_message=f"The text «{QUESTION}» is not allowed: sk-test"
    )
    await site.ask(QUESTION, model=model)
    [line] = log.find_lines("chat.generation.answer_run")
    assert "is not allowed" in line["message"]
    assert "marmalade" not in log.text
    assert "sk-test" not in log.text


async def test_a_whole_conversation_leaves_no_word_in_the_log(
    site: Site, provider: ProviderServer, log: Log, settings: Settings
) -> None:
    settings.CHAT_ACCESS_LOG = True
    provider.script = Script(text="In the Analytical Engine.", chunk_size=4)
    answer = await site.ask(QUESTION)
    await site.get(f"/c/{answer['conversation']}/?q=marmalade")
    await site.get("/no-such-page/?q=marmalade")
    await site.post("/api/conversations/", {}, authorization="Bearer a-token-of-nobody")
    for word in ("marmalade", "Analytical", "lovelace", "a-token-of-nobody", site.client.cookies["sessionid"].value):
        assert word not in log.text
    assert len(log.find_lines("chatsite.access")) == 5


async def test_each_request_is_one_line_if_asked_for(site: Site, log: Log, settings: Settings) -> None:
    settings.CHAT_ACCESS_LOG = True
    settings.SERVESTATIC_USE_FINDERS = True
    await site.get("/", x_request_id="req-1")
    for path in ("/healthz", "/readyz", "/metrics", "/static/chat/base.css"):
        assert (await site.client.get(path)).status_code == 200
    [line] = log.find_lines("chatsite.access")
    assert (line["method"], line["path"], line["status"], line["request_id"]) == ("GET", "/", 200, "req-1")
    assert 0 < line["ms"] < 60_000
    settings.CHAT_ACCESS_LOG = False
    await site.get("/")
    assert len(log.find_lines("chatsite.access")) == 1


async def test_the_id_of_a_request_goes_no_further_than_its_answers(
    site: Site, provider: ProviderServer, log: Log
) -> None:
    """The supervisor is started by some request too, and is none of its business."""
    supervisor = logging.getLogger("test.supervisor")
    kept = store.write_checkpoint

    def warn_and_keep(*args: object) -> object:
        supervisor.warning("kept")
        return kept(*args)  # type: ignore[arg-type]

    store.write_checkpoint = warn_and_keep  # type: ignore[assignment]
    try:
        provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
        answer = await site.begin()
        await wait_until(lambda: bool(log.find_lines("test.supervisor")))
        provider.release()
        await site.read_events(answer)
    finally:
        store.write_checkpoint = kept
    assert {(line["request_id"], line.get("answer")) for line in log.find_lines("test.supervisor")} == {("-", None)}


def test_an_exception_is_one_line_of_json() -> None:
    line = JsonFormatter(["hunter2hunter2"]).format(
        record("it failed", error=raise_and_catch(ValueError("with\nhunter2hunter2")))
    )
    assert "\n" not in line
    told = json.loads(line)
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: with\n***")


@pytest.mark.parametrize("formatter", [LineFormatter, JsonFormatter])
def test_secrets_are_masked_however_they_came(formatter: type[LineFormatter]) -> None:
    password = find_password("postgres://chat:p%40ssword!@db/chat")
    secrets = formatter([password, "sk-proj-1", "sk-proj-1-longer", "", "short"])
    one = record("p@ssword! p%%40ssword! sk-proj-1-longer sk-proj-1 Authorization: Bearer abc.def %s", "sk-proj-1")
    one.request_id = "-"
    text = secrets.format(one)
    for secret in ("ssword", "sk-proj", "longer", "abc.def"):
        assert secret not in text
    assert "***" in text


@pytest.mark.parametrize("formatter", [LineFormatter, JsonFormatter])
@pytest.mark.parametrize(
    "words",
    [
        "Incorrect API key provided: sk-live-abcdefghij0123456789",
        "x-api-key: sk-ant-api03-abcdefghij",
        "GET https://user:hunter2hunter2@gateway.example/v1",
        "header authorization=Token 0123456789abcdef",
        "AIzaSyA-0123456789abcdefghij",
    ],
)
def test_a_key_that_the_settings_do_not_know_is_masked_whatever_logs_it(
    formatter: type[LineFormatter], words: str
) -> None:
    """A provider may name another key than the one that was sent, and a library may log what it sends."""
    one = record("failed: %s", words, error=raise_and_catch(ValueError(words)))
    one.request_id = "-"
    text = formatter().format(one)
    secrets = ("sk-live", "api03", "hunter2", "0123456789", "AIzaSy")
    assert "***" in text
    assert not [secret for secret in secrets if secret in text]


def test_names_in_the_sites_log_are_no_secrets() -> None:
    answer = "0d9f3c52-6f3e-4b8e-9d55-0a5ff6a3a2b1"
    words = f"GET /c/{answer}/ 200 3.1 ms, answer {answer}, request 5f1e0a2b3c4d, anthropic:claude-sonnet-4-5-20250929"
    assert LineFormatter().mask_secrets(words) == words
    path = 'File "/srv/chatsite/chat/generation/upstream_call.py", line 226, in usage'
    assert LineFormatter().mask_secrets(path) == path


def test_a_row_that_postgresql_refuses_is_not_repeated() -> None:
    refusal = 'violates check constraint "x"\nDETAIL:  Failing row contains (1, my dear\n\nmarmalade: sweet\n, null).'
    line = json.loads(JsonFormatter().format(record("failed: %s", refusal, error=raise_and_catch(ValueError(refusal)))))
    assert "marmalade" not in json.dumps(line)
    assert "my dear" not in json.dumps(line)
    assert 'violates check constraint "x"' in line["message"]


@pytest.mark.parametrize(
    ("detail", "logged"),
    [
        ("400: model gpt-9 does not exist", "400: model gpt-9 does not exist"),
        (f"400: «{QUESTION}» is too rude", "400: «…» is too rude"),
        (f"400: {QUESTION[:20]}", "400: …"),
        (f"400: {QUESTION[5:]} and then A whole answer", "400: … and then …"),
        ("", ""),
    ],
)
def test_a_quotation_is_cut_out_of_what_a_provider_says(detail: str, logged: str) -> None:
    prompt = Prompt("gpt-test", (Turn("user", "Good morning!"), Turn("user", QUESTION)))
    assert drop_quotations(detail, prompt, "A whole answer") == logged


def test_cutting_quotations_is_fast() -> None:
    prompt = Prompt("gpt-test", (Turn("user", "aaaaaaaaaaa " * 8000),))
    began = time.monotonic()
    drop_quotations("aaaaaaaaaaab" * 25, prompt)
    assert time.monotonic() - began < 1


def test_the_settings_name_every_secret() -> None:
    formatters: Any = site_settings.LOGGING["formatters"]
    secrets = formatters["json"]["secrets"]
    assert site_settings.SECRET_KEY in secrets


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_server_that_logs_json_logs_nothing_else(kind: str, tmp_path: Path) -> None:
    with ProviderServer.run_in_thread() as provider:
        provider.script = Script(status=400, error_message=f"No: {QUESTION} sk-very-secret")
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "OPENAI_API_KEY": "sk-very-secret",
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_LOG_FORMAT": "json",
        }
        with serve_new_site(kind, tmp_path, **environment) as (server, token):
            with Client(server, token) as client:
                answer = client.begin(QUESTION)
                client.http.get(f"/api/answers/{answer}/events/")
                client.http.get("/no-such-page/?q=marmalade")
            server.terminate(20)
            text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message", "request_id"} <= line.keys() for line in lines)
    assert [line["answer"] for line in lines if line["logger"] == "chat.generation.answer_run"] == [answer]
    assert {line["status"] for line in lines if line["logger"] == "chatsite.access"} == {200, 201, 202, 404}
    for secret in ("marmalade", "sk-very-secret", token, "only for tests"):
        assert secret not in text


def test_short_values_are_no_secrets() -> None:
    """Or a log turns into asterisks."""
    assert LineFormatter(["", "abc"]).mask_secrets("the abc of it") == "the abc of it"


def test_the_reasons_of_a_pool_without_connections_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    log, logged = logging.Logger("psycopg.pool"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.addFilter(ConnectingFilter())

    def fail(reason: str) -> None:
        log.warning("error connecting in %r: %s", "pool-1", OSError(reason))
        log.warning("reconnection attempt in pool %r failed after %s sec", "pool-1", 2.0)

    for reason in ("refused", "refused", "starting up", "starting up"):
        fail(reason)
    now += SAME_REASON_EVERY
    fail("starting up")
    assert [line.rpartition(": ")[2] for line in logged] == ["refused", "starting up", "starting up"]
