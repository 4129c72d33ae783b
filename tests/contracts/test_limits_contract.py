"""Of many who ask at once, through three processes, exactly those get through that a limit has room for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import httpx2
import pytest

from tests.provider_server import ProviderServer, Script
from tests.support import databases
from tests.support.server import Cluster, Server

pytestmark = pytest.mark.database

PARALLEL = 50

# One user for each limit, and what they do with it: for each the limit has room for one answer more.
LIMITS = {
    "requests": {"requests_per_minute": 3},
    "live": {"live_answers": 3},
    "tokens": {"tokens_per_day": 3_500},  # an answer reserves 1,002 or a little more
}

# Prints a bearer token for each of them.
USERS = f"""
import json
from chat.models import ApiToken, Limit, User
tokens = {{}}
for name, figures in {LIMITS!r}.items():
    user = User.objects.create_user(name)
    Limit.objects.create(user=user, **figures)
    tokens[name] = ApiToken.issue(user, "test")
print(json.dumps(tokens))
"""


@pytest.fixture(scope="module")
def provider_thread() -> Iterator[ProviderServer]:
    with ProviderServer.run_in_thread() as server:
        server.script = Script(gate_after=0)
        yield server


class Users:
    """Their tokens, and the processes that they reach in turn."""

    def __init__(self, cluster: Cluster, tokens: dict[str, str]) -> None:
        self.cluster, self.tokens = cluster, tokens
        self._urls = cycle([server.url for server in cluster.servers])

    def ask(self, name: str, conversation: str) -> httpx2.Response:
        return self._post(name, f"/api/conversations/{conversation}/messages/", {"content": "Why not?"})

    def make_conversation(self, name: str) -> str:
        return str(self._post(name, "/api/conversations/", {}).json()["id"])

    def _post(self, name: str, path: str, body: dict[str, str]) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.tokens[name]}", "prefer": "respond-async"}
        return httpx2.post(f"{next(self._urls)}{path}", json=body, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def users(provider_thread: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    directory = tmp_path_factory.mktemp("site")
    database, token = databases.prepare_tested_database(directory)
    environment = {"OPENAI_BASE_URL": provider_thread.openai_url, "CHAT_MODELS": "openai:gpt-test", "CHAT_LEASE": "30"}
    environment["CHAT_TOOLS"] = "none"  # their schemas are a part of what an answer reserves
    server = Server("daphne", database, logs=directory, **environment)
    tokens = json.loads(server.manage("shell", "--no-imports", "-c", USERS))
    with Cluster("daphne", database, token, size=3, logs=directory, **environment) as cluster:
        yield Users(cluster, tokens)


@pytest.mark.parametrize("name", LIMITS)
def test_with_room_for_one_more_exactly_one_of_many_is_let_through(
    users: Users, provider_thread: ProviderServer, name: str
) -> None:
    conversations = [users.make_conversation(name) for _ in range(PARALLEL + 2)]
    before = len(provider_thread.requests)
    assert [users.ask(name, conversation).status_code for conversation in conversations[:2]] == [202, 202]
    with ThreadPoolExecutor(PARALLEL) as pool:
        responses = list(pool.map(lambda conversation: users.ask(name, conversation), conversations[2:]))
    assert Counter(response.status_code for response in responses) == {202: 1, 429: PARALLEL - 1}
    refused = [response for response in responses if response.status_code == 429]
    assert {response.json()["error"]["code"] for response in refused} == {"quota_exceeded"}
    assert all(int(response.headers["retry-after"]) > 0 for response in refused)
    provider_thread.block_until(lambda: len(provider_thread.requests) >= before + 3)
    assert len(provider_thread.requests) == before + 3
    assert "Traceback" not in users.cluster.log()
