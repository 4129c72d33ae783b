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

from chat import answers
from chat.providers import Prompt, Turn
from chat.providers.failures import unquoted
from chatsite.logs import JsonFormatter, LineFormatter, NamesFilter, password_of
from tests.contracts.test_server_contract import Client
from tests.databases import prepared
from tests.provider_server import ProviderServer, Script
from tests.site import Json, Site
from tests.waiting import eventually

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

    def of(self, logger: str) -> list[Json]:
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


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


async def test_a_failed_answer_is_logged_by_its_id_and_the_id_of_its_request(
    site: Site, provider: ProviderServer, log: Log
) -> None:
    provider.script = Script(status=401)
    conversation = await site.conversation()
    path = f"/api/conversations/{conversation}/messages/"
    response = await site.post(path, {"content": QUESTION}, x_request_id="req-42")
    [line] = log.of("chat.generation")
    assert (line["level"], line["request_id"], line["answer"]) == (
        "WARNING",
        "req-42",
        json.loads(response.content)["id"],
    )
    assert "auth_failed" in line["message"]
    assert line["time"].endswith("+00:00")


async def test_what_a_provider_repeats_is_not_logged(
    site: Site, provider: ProviderServer, log: Log, model: str
) -> None:
    provider.script = Script(
        status=400, error_type="invalid_request_error", error_message=f"The text «{QUESTION}» is not allowed: sk-test"
    )
    await site.ask(QUESTION, model=model)
    [line] = log.of("chat.generation")
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
    assert len(log.of("chatsite.access")) == 5


async def test_each_request_is_one_line_if_asked_for(site: Site, log: Log, settings: Settings) -> None:
    settings.CHAT_ACCESS_LOG = True
    await site.get("/", x_request_id="req-1")
    for path in ("/healthz", "/readyz", "/metrics", "/static/chat/chat.css"):
        assert (await site.client.get(path)).status_code == 200
    [line] = log.of("chatsite.access")
    assert (line["method"], line["path"], line["status"], line["request_id"]) == ("GET", "/", 200, "req-1")
    assert 0 < line["ms"] < 60_000
    settings.CHAT_ACCESS_LOG = False
    await site.get("/")
    assert len(log.of("chatsite.access")) == 1


async def test_the_id_of_a_request_goes_no_further_than_its_answers(
    site: Site, provider: ProviderServer, log: Log
) -> None:
    """The keeper is started by some request too, and is none of its business."""
    keeper = logging.getLogger("test.keeper")
    kept = answers.checkpoint

    def checkpoint(*args: object) -> object:
        keeper.warning("kept")
        return kept(*args)  # type: ignore[arg-type]

    answers.checkpoint = checkpoint  # type: ignore[assignment]
    try:
        provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
        answer = await site.begin()
        await eventually(lambda: bool(log.of("test.keeper")))
        provider.release()
        await site.events(answer)
    finally:
        answers.checkpoint = kept
    assert {(line["request_id"], line.get("answer")) for line in log.of("test.keeper")} == {("-", None)}


def test_an_exception_is_one_line_of_json() -> None:
    line = JsonFormatter(["hunter2hunter2"]).format(
        record("it failed", error=raised(ValueError("with\nhunter2hunter2")))
    )
    assert "\n" not in line
    told = json.loads(line)
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: with\n***")


@pytest.mark.parametrize("formatter", [LineFormatter, JsonFormatter])
def test_secrets_are_masked_however_they_came(formatter: type[LineFormatter]) -> None:
    password = password_of("postgres://chat:p%40ssword!@db/chat")
    secrets = formatter([password, "sk-proj-1", "sk-proj-1-longer", "", "short"])
    one = record("p@ssword! p%%40ssword! sk-proj-1-longer sk-proj-1 Authorization: Bearer abc.def %s", "sk-proj-1")
    one.request_id = "-"
    text = secrets.format(one)
    for secret in ("ssword", "sk-proj", "longer", "abc.def"):
        assert secret not in text
    assert "***" in text


def test_a_row_that_postgresql_refuses_is_not_repeated() -> None:
    refusal = 'violates check constraint "x"\nDETAIL:  Failing row contains (1, my dear\n\nmarmalade: sweet\n, null).'
    line = json.loads(JsonFormatter().format(record("failed: %s", refusal, error=raised(ValueError(refusal)))))
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
    assert unquoted(detail, prompt, "A whole answer") == logged


def test_cutting_quotations_is_fast() -> None:
    prompt = Prompt("gpt-test", (Turn("user", "aaaaaaaaaaa " * 8000),))
    began = time.monotonic()
    unquoted("aaaaaaaaaaab" * 25, prompt)
    assert time.monotonic() - began < 1


def test_the_settings_name_every_secret() -> None:
    formatters: Any = site_settings.LOGGING["formatters"]
    secrets = formatters["json"]["secrets"]
    assert site_settings.SECRET_KEY in secrets


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_server_that_logs_json_logs_nothing_else(kind: str, tmp_path: Path) -> None:
    with ProviderServer.in_thread() as provider:
        provider.script = Script(status=400, error_message=f"No: {QUESTION} sk-very-secret")
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "OPENAI_API_KEY": "sk-very-secret",
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_LOG_FORMAT": "json",
        }
        with prepared(kind, tmp_path, **environment) as (server, token):
            with Client(server, token) as client:
                answer = client.begin(QUESTION)
                client.http.get(f"/api/answers/{answer}/events/")
                client.http.get("/no-such-page/?q=marmalade")
            server.terminate(20)
            text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message", "request_id"} <= line.keys() for line in lines)
    assert [line["answer"] for line in lines if line["logger"] == "chat.generation"] == [answer]
    assert {line["status"] for line in lines if line["logger"] == "chatsite.access"} == {200, 201, 202, 404}
    for secret in ("marmalade", "sk-very-secret", token, "only for tests"):
        assert secret not in text


def test_what_is_short_is_no_secret() -> None:
    """Or a log turns into asterisks."""
    assert LineFormatter(["", "abc"]).without_secrets("the abc of it") == "the abc of it"
