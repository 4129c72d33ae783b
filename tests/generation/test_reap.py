"""`manage.py reap` interrupts the answers whose server is gone, as a running server would, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from chat.models import ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.client import Client
from tests.support.databases import serve_new_site
from tests.support.lost_answers import keep_lost_answer
from tests.support.reaping import reap
from tests.support.services import Redis

TEXT = "".join(f"word{number} " for number in range(200))


def test_lost_answers_are_interrupted_with_their_text_and_counted(user: User) -> None:
    lost = [keep_lost_answer(user) for _ in range(3)]
    assert reap() == "3 answers interrupted."
    for answer in lost:
        answer.refresh_from_db()
        assert (answer.status, answer.error_code, answer.text) == ("interrupted", "server_lost", "What was said")
    assert set(ProviderCall.objects.values_list("outcome", "error_code")) == {("interrupted", "server_lost")}


def test_answers_of_a_running_server_are_left_alone(user: User) -> None:
    live = keep_lost_answer(user, ago=-60)
    keep_lost_answer(user)
    assert reap() == "1 answer interrupted."
    live.refresh_from_db()
    assert live.is_live


def test_reaping_again_finds_nothing_more(user: User) -> None:
    keep_lost_answer(user)
    assert [reap(), reap()] == ["1 answer interrupted.", "0 answers interrupted."]


def test_reap_wait_waits_until_leases_end(user: User, settings: Settings) -> None:
    settings.CHAT_LEASE = 1.5
    keep_lost_answer(user, ago=-1)
    assert reap() == "0 answers interrupted."
    assert reap("--wait") == "1 answer interrupted."


def test_the_help_of_reap_says_when_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("reap", "--help")
    told = " ".join(capsys.readouterr().out.split())
    for words in ("server_lost", "CHAT_LEASE", "--wait", "every two seconds"):
        assert words in told


@pytest.mark.parametrize("with_redis", [True, False], ids=["with Redis", "without Redis"])
def test_a_killed_servers_answer_is_completed_from_what_is_left(tmp_path: Path, with_redis: bool) -> None:
    """The last checkpoint may be 2 s old, and Redis has what readers saw since: with it the text is whole."""
    with ProviderServer.run_in_thread() as provider, Redis() as redis:
        provider.script = Script(text=TEXT, chunk_size=8, gate_after=400)
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_LEASE": "6",
            "CHAT_CHECKPOINT": "2",
            **({"REDIS_URL": redis.url} if with_redis else {}),
        }
        with serve_new_site("uvicorn", tmp_path, **environment) as (server, token):
            with Client(server, token) as client:
                answer = client.begin()
                read_until(client, answer, 400)
            server.kill()
            assert server.manage("reap", "--wait") == "1 answer interrupted."
            server.start()
            with Client(server, token) as client:
                kept = client.answer(answer)
    assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_lost")
    assert TEXT.startswith(kept["text"])
    if with_redis:
        assert len(kept["text"]) >= 400


def read_until(client: Client, answer: str, position: int) -> None:
    seen = 0
    with client.http.stream("GET", f"/api/answers/{answer}/events/") as response:
        for line in response.iter_lines():
            if line.startswith("id: "):
                seen = int(line[4:])
            if seen >= position:
                return
