"""A file of prompts is worked through: a few at once, each once, on the ledger, whatever comes between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from chat.batch.results import Results
from chat.core.events import Usage
from chat.generation import upstream_call
from chat.models import Limit, Meter, ProviderCall, User
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import Call, ProviderServer, RefusedPart, Script
from tests.support import databases
from tests.support.server import ROOT, Server
from tests.support.site import Json

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer.run_in_thread(Script(text="Yes.", usage=Usage(12, 34))) as server:
        yield server


@pytest.fixture
def complete(
    transactional_db: None,
    settings: Settings,
    provider: ProviderServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[Any, Json]]:
    settings.CHAT_PROVIDERS = {
        "openai": {"api_key": "sk-test", "base_url": provider.openai_url},
        "anthropic": {"api_key": "sk-ant-test", "base_url": provider.anthropic_url},
        "demo": {"pace": 0},
    }
    settings.CHAT_MODELS = [OPENAI]
    settings.CHAT_MAX_RETRIES = 2
    monkeypatch.setattr(upstream_call, "BACKOFF", 0.05)

    def complete(*lines: Json | str, fails: str = "", **options: Any) -> dict[Any, Json]:
        """Run the command on these lines; return what the output has afterwards, by id."""
        write(tmp_path / "in.jsonl", *lines)
        paths = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
        if fails:
            with pytest.raises(CommandError, match=fails) as failure:
                call_command("complete_batch", *paths, **options)
            assert failure.value.returncode == 1
        else:
            call_command("complete_batch", *paths, **options)
        return read_results(tmp_path / "out.jsonl")

    return complete


def write(path: Path, *lines: Json | str) -> None:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def read_results(path: Path) -> dict[Any, Json]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert len({str(line["id"]) for line in lines}) == len(lines)
    return {line["id"]: line for line in lines}


def make_prompts(number: int) -> list[Json]:
    return [{"id": f"q{index}", "prompt": f"Question {index}"} for index in range(number)]


def list_rows() -> list[tuple[str, str]]:
    return list(ProviderCall.objects.order_by("pk").values_list("outcome", "error_code"))


Complete = Callable[..., dict[Any, Json]]


def test_a_model_that_refuses_something_is_asked_without_it_and_the_line_says_so(
    complete: Complete, provider: ProviderServer
) -> None:
    refusal = RefusedPart(part="temperature", message="invalid temperature: only 1 is allowed for this model")
    provider.script = Script(text="Yes.", refused_parts=[refusal])
    out = complete(*({**line, "temperature": 0} for line in make_prompts(3)), concurrency=1)
    assert all(line["text"] == "Yes." and "temperature" in line["notices"][0]["message"] for line in out.values())
    assert ["temperature" in request.body for request in provider.requests] == [True, False, False, False]
    outcomes = [row.outcome for row in ProviderCall.objects.order_by("pk")]
    assert outcomes == ["interrupted", "complete", "complete", "complete"]


def test_each_line_has_an_answer_and_a_row_on_the_ledger(complete: Complete, provider: ProviderServer) -> None:
    out = complete(*make_prompts(5))
    assert out.keys() == {f"q{index}" for index in range(5)}
    assert out["q3"] == {
        "id": "q3",
        "text": "Yes.",
        "status": "complete",
        "finish_reason": "stop",
        "usage": {
            "input_tokens": 12,
            "output_tokens": 34,
            "cached_tokens": 0,
            "reasoning_tokens": 0,
            "written_tokens": 0,
            "written_hour_tokens": 0,
            "searches": 0,
            "estimated": False,
        },
        "error": None,
    }
    assert sorted(request.prompt for request in provider.requests) == [f"Question {index}" for index in range(5)]
    assert not any(request.body.get("stream") for request in provider.requests)
    rows = ProviderCall.objects.all()
    assert [(row.purpose, row.billed_to, row.user, row.outcome, row.output_tokens) for row in rows] == [
        ("batch", "site", None, "complete", 34)
    ] * 5


def test_both_wire_formats_take_what_a_line_says(complete: Complete, provider: ProviderServer) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    complete(
        {"id": 1, "messages": said, "max_tokens": 7, "temperature": 0.5},
        {"id": 2, "messages": said, "model": ANTHROPIC},
        {"id": 3, "prompt": "Hi"},
        system="You are a clerk.",
        max_tokens=9,
        concurrency=1,
    )
    first, second, third = (request.body for request in provider.requests)
    assert (first["messages"], first["max_tokens"], first["temperature"]) == (said, 7, 0.5)
    assert (second["model"], second["system"], second["max_tokens"]) == ("messages-test", "Be brief.", 9)
    assert (third["messages"][0]["content"], third["max_tokens"]) == ("You are a clerk.", 9)


def test_a_line_has_its_own_effort_else_the_one_of_its_model(
    complete: Complete, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_EFFORT = {"openai:gpt-6.1-terra": "high"}
    line = {"prompt": "Hi", "model": "openai:gpt-6.1-terra"}
    complete(line | {"effort": "low"}, line, {"prompt": "Hi"}, concurrency=1)
    assert [request.body.get("reasoning_effort") for request in provider.requests] == ["low", "high", None]


def test_no_more_calls_are_under_way_than_allowed(complete: Complete, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", delay_first=0.1)
    complete(*make_prompts(12), concurrency=3)
    spans = [(request.started, request.finished_at or 0.0) for request in provider.requests]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert 1 < max(at_once) <= 3  # a machine that is busy may keep the third from coming in time


def test_prompts_with_a_result_are_not_asked_again(complete: Complete, provider: ProviderServer) -> None:
    complete(*make_prompts(3))
    assert len(complete(*make_prompts(5))) == 5
    assert len(provider.requests) == 5


def test_a_torn_last_line_is_asked_again(complete: Complete, provider: ProviderServer, tmp_path: Path) -> None:
    complete(*make_prompts(3), concurrency=1)
    path = tmp_path / "out.jsonl"
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines(keepends=True)[-1]) - 1):
        path.write_bytes(whole[:-cut])
        assert len(complete(*make_prompts(3))) == 3
    assert len(provider.requests) == 6


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "q1", "prompt": "Why?"}\n',
        '{"id": "q1", "prompt": "Why?"}',
        '{"prompt": "Wh',
        '{"id": "q1", "status": "complete"}\n{"prompt": "Why?"}\n',
        '{"id": "q1", "sta\n{"id": "q2", "status": "complete"}\n',
        "Notes\n",
        "[1]\n",
        "\n",
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_stays_as_it_is(
    complete: Complete, provider: ProviderServer, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(text)
    write(tmp_path / "in.jsonl", *make_prompts(1))
    with pytest.raises(CommandError, match="is not a result of a batch"):
        call_command("complete_batch", str(tmp_path / "in.jsonl"), str(path), retry_failed=True)
    assert path.read_text() == text
    assert not provider.requests


@pytest.mark.parametrize("special", ["in.jsonl", "out.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(os.devnull), Path.mkdir])
def test_what_is_no_ordinary_file_is_refused(
    complete: Complete, provider: ProviderServer, tmp_path: Path, make: Callable[[Path], None], special: str
) -> None:
    """A pipe can be read once, and a device such as /dev/full has no end."""
    write(tmp_path / "in.jsonl", *make_prompts(1))
    (tmp_path / special).unlink(missing_ok=True)
    make(tmp_path / special)
    with pytest.raises(CommandError, match=f"{special} is no ordinary file"):
        call_command("complete_batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))
    assert not provider.requests


def test_two_runs_do_not_write_to_one_file(complete: Complete, provider: ProviderServer, tmp_path: Path) -> None:
    with Results(tmp_path / "out.jsonl"):
        complete(*make_prompts(1), fails="Another run")
    assert not provider.requests


def test_the_output_is_locked_after_it_was_repaired_too(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"id": "q0", "status": "comp')
    with Results(tmp_path / "out.jsonl"):
        complete(*make_prompts(1), fails="Another run")


def test_a_bad_line_is_reported_by_its_number_and_stops_nothing(
    complete: Complete, provider: ProviderServer, capfd: pytest.CaptureFixture[str]
) -> None:
    bad: list[Json | str] = [
        "not json",
        {"prompt": 5},
        {"id": "x"},
        {"prompt": "a", "messages": []},
        {"prompt": "  "},
        {"prompt": "a", "max_token": 5},
        {"prompt": "a", "model": "nobody:knows"},
        {"prompt": "a", "model": "openai:two words"},
        {"prompt": "a", "model": "openai:a\0b"},
        {"prompt": "a", "model": f"openai:{'x' * 200}"},  # which no column of the ledger takes
        {"prompt": "a", "temperature": 3},
        {"prompt": "a", "effort": "huge"},
        {"prompt": "a", "response_schema": {"type": "array"}},
        {"id": "q0", "prompt": "again"},
    ]
    out = complete(*make_prompts(1), "", *bad, {"prompt": "last"}, fails="14 could not be read", concurrency=1)
    assert out.keys() == {"q0", "line-17"}
    told = capfd.readouterr().err
    assert [number for number in range(20) if f"line {number}: " in told] == list(range(3, 17))
    assert "is that of line 1" in told
    assert len(provider.requests) == 2


def test_a_provider_that_refuses_for_now_is_asked_again(complete: Complete, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=429, retry_after=1), Script(status=503))
    began = time.monotonic()
    out = complete(*make_prompts(1))
    assert 1 <= time.monotonic() - began < 10
    assert (out["q0"]["status"], out["q0"]["usage"]["output_tokens"]) == ("complete", 34)
    assert list_rows() == [("interrupted", "rate_limited"), ("interrupted", "upstream_error"), ("complete", "")]


def test_a_busy_provider_is_asked_nothing_else_meanwhile(complete: Complete, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=429, retry_after=1))
    complete(*make_prompts(4), concurrency=1)
    first, second = provider.requests[:2]
    assert second.started - first.started >= 1
    provider.requests.clear()
    provider.enqueue(Script(status=429, retry_after=1))
    complete(*[{"id": f"n{index}", "prompt": "More"} for index in range(20)], concurrency=2)
    began, *others = (request.started for request in provider.requests)
    # The other worker's call may have been under way already.
    assert sum(start < began + 1 for start in others) <= 2


def test_tries_are_bounded_and_the_failure_is_written(complete: Complete, provider: ProviderServer) -> None:
    provider.script = Script(status=503)
    out = complete(*make_prompts(1), fails="1 failed")
    assert out["q0"]["status"] == "interrupted"
    assert (out["q0"]["error"]["code"], out["q0"]["error"]["retryable"]) == ("upstream_error", True)
    assert len(provider.requests) == 3


def test_failures_are_asked_again_only_when_that_is_wanted(complete: Complete, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=400))
    complete(*make_prompts(3), fails="1 failed")
    complete(*make_prompts(3))
    assert len(provider.requests) == 3
    out = complete(*make_prompts(3), retry_failed=True)
    assert [line["status"] for line in out.values()] == ["complete"] * 3
    assert len(provider.requests) == 4


def test_an_answer_is_held_to_its_schema(complete: Complete, provider: ProviderServer) -> None:
    provider.enqueue(
        Script(text='{"n": 1}'),
        Script(text='{"n": "one"}'),
        Script(text="", tool_calls=[Call("answer", '{"n": 2}')]),
    )
    asked = {"prompt": "How many?", "response_schema": SCHEMA}
    out = complete(
        {"id": "a", **asked},
        {"id": "b", **asked},
        {"id": "c", "model": ANTHROPIC, **asked},
        fails="1 failed",
        concurrency=1,
    )
    assert (out["a"]["text"], out["a"]["status"]) == ('{"n": 1}', "complete")
    assert (out["b"]["text"], out["b"]["error"]["code"]) == ('{"n": "one"}', "invalid_output")
    assert (json.loads(out["c"]["text"]), out["c"]["finish_reason"]) == ({"n": 2}, "stop")


def test_the_users_calls_are_the_users(complete: Complete, provider: ProviderServer) -> None:
    user = User.objects.create_user("ada")
    complete(*make_prompts(2), user="ada")
    assert [(row.user, row.billed_to) for row in ProviderCall.objects.all()] == [(user, "user")] * 2
    assert not Meter.objects.exclude(held=0).exists()


def test_the_users_limits_hold(complete: Complete, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_RESERVE_OUTPUT = 20
    Limit.objects.create(user=User.objects.create_user("ada"), tokens_per_day=100)
    out = complete(*make_prompts(5), user="ada", concurrency=1, fails="3 failed")
    assert [line["status"] for line in out.values()] == ["complete"] * 2 + ["interrupted"] * 3
    assert {line["error"]["code"] for line in out.values() if line["error"]} == {"quota_exceeded"}
    assert len(provider.requests) == 2


def test_an_unknown_user_is_refused(complete: Complete, provider: ProviderServer) -> None:
    complete(*make_prompts(1), user="nobody", fails="no active user")


def test_the_rows_of_a_run_that_was_killed_are_settled_by_the_next(complete: Complete) -> None:
    long_ago = timezone.now() - timedelta(days=1)
    for age in (long_ago, timezone.now()):
        row = ProviderCall.objects.create(purpose="batch", billed_to="site", model=OPENAI, input_tokens=5)
        ProviderCall.objects.filter(pk=row.pk).update(started_at=age)
    complete(*make_prompts(1))
    assert list_rows() == [("interrupted", "server_lost"), ("running", ""), ("complete", "")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_keeps_what_is_done_and_goes_on(
    provider: ProviderServer, tmp_path: Path, how: signal.Signals
) -> None:
    database, _ = databases.prepare_database(tmp_path)
    server = Server("daphne", database, OPENAI_BASE_URL=provider.openai_url, OPENAI_API_KEY="sk-test")
    write(tmp_path / "in.jsonl", *make_prompts(6))
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "manage.py", "complete_batch", str(tmp_path / "in.jsonl"), str(out)]
    command += ["--model", OPENAI, "--concurrency", "2"]
    provider.enqueue(*[Script(text="Yes.")] * 3, *[Script(text="Late.", gate_after=0)] * 2)
    # What a shell runs in the background ignores Ctrl+C, and so does what that starts.
    heeding = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(command, cwd=ROOT, env=server.environment, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, heeding)
    provider.block_until(lambda: len(provider.requests) == 5 and all(r.is_paused for r in provider.requests[3:]), 60)
    os.kill(run.pid, how)
    told = run.communicate(timeout=30)[1]
    assert len(read_results(out)) == 3
    if how != signal.SIGKILL:
        assert run.returncode == 130
        assert "the same command goes on" in told
        running = server.manage("shell", "-v", "0", "-c", RUNNING)
        assert running == "5 calls, 0 running"
    provider.block_until(lambda: all(request.is_over for request in provider.requests))
    again = subprocess.run(
        command, check=False, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 0, again.stderr
    assert "6 of 6, 3 of them before" in again.stderr
    assert [line["text"] for line in read_results(out).values()] == ["Yes."] * 6
    assert len(provider.requests) == 8


RUNNING = """
from chat.models import ProviderCall
rows = ProviderCall.objects
print(f"{rows.count()} calls, {rows.filter(outcome='running').count()} running")
"""


def test_another_model_answers_where_one_is_not_available(
    complete: Complete, provider: ProviderServer, settings: Settings
) -> None:
    """The lines after it do not ask it either: a thousand lines would otherwise be a thousand failures."""
    settings.CHAT_FALLBACKS = {OPENAI: [ANTHROPIC]}
    settings.CHAT_MODELS = [OPENAI, ANTHROPIC]
    provider.enqueue(Script(status=503))
    out = complete(*make_prompts(4), concurrency=1)
    assert {line["text"] for line in out.values()} == {"Yes."}
    said = {"code": "fallback", "message": f"{OPENAI} was not available, so {ANTHROPIC} answers."}
    assert all(line["notices"] == [said] for line in out.values())
    asked = [(row.model, row.outcome) for row in ProviderCall.objects.order_by("pk")]
    assert asked == [(OPENAI, "interrupted"), *[(ANTHROPIC, "complete")] * 4]


def test_the_last_of_a_chain_is_tried_again(complete: Complete, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_FALLBACKS = {OPENAI: [ANTHROPIC]}
    settings.CHAT_MODELS = [OPENAI, ANTHROPIC]
    provider.enqueue(Script(status=503), Script(status=503))
    out = complete(*make_prompts(1))
    assert out["q0"]["text"] == "Yes."
    assert [row.model for row in ProviderCall.objects.order_by("pk")] == [OPENAI, ANTHROPIC, ANTHROPIC]
