"""The process of a bulk retry is killed in the middle: nothing is billed twice, and nothing is skipped."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.faults import ALONE, MANY, Place, choose_length, find_place
from tests.faults.rows import run_in_shell
from tests.provider_server import ProviderServer, RecordedRequest
from tests.support.server import Cluster, Server, log_in_demo

ANSWERS = choose_length(300, 5000)
AT_ONCE = 8
OTHER = "gpt-other"

# 5,000 answers took 3 minutes here; a loaded machine may need many times that.
WITHIN = choose_length(120.0, 1800.0)

MAKE_OUTAGE = """
import json
from chat.models import Conversation, Message, User
mark, count = "{mark}", {count}
users = [User.objects.create_user(f"{{mark}}-{{number}}") for number in range(10)]
made = [Conversation(user=users[number % 10], title=f"{{mark}} {{number}}") for number in range(count)]
Conversation.objects.bulk_create(made, batch_size=500)
questions = [
    Message(conversation=each, role="user", text=json.dumps({{"text": each.title, "delay_first": 0.02}}))
    for each in made
]
Message.objects.bulk_create(questions, batch_size=500)
Message.objects.bulk_create([
    Message(conversation=question.conversation, parent=question, role="assistant", status="interrupted",
        error_code="upstream_error", model="openai:gpt-test") for question in questions
], batch_size=500)
"""

READ = """
import json
from collections import Counter
from chat.models import Message, ProviderCall, RetryItem
items = RetryItem.objects.filter(batch="{batch}")
attempts = Message.objects.filter(role="assistant", conversation__title__startswith="{mark} ")
calls = ProviderCall.objects.filter(answer__in=items.values("attempt")).values_list("answer", flat=True)
print(json.dumps({{
    "items": list(items.order_by("pk").values_list("status", "code")),
    "attempts of a question": Counter(Counter(str(pk) for pk in attempts.values_list("parent", flat=True)).values()),
    "calls of an attempt": Counter(Counter(calls).values()),
    "calls": ProviderCall.objects.filter(answer__in=attempts, purpose="answer").count(),
    "models": sorted(set(ProviderCall.objects.filter(answer__in=attempts).values_list("model", flat=True))),
}}))
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return {"CHAT_MODELS": f"openai:gpt-test,openai:{OTHER}", "CHAT_STAFF_RETRIES": str(AT_ONCE)}


@pytest.mark.parametrize("place", [find_place(name) for name in choose_length([MANY], [ALONE, MANY])], ids=str)
async def test_a_killed_bulk_retry_bills_no_answer_twice_and_skips_none(
    place: Place, cluster: Cluster, provider: ProviderServer, chance: random.Random
) -> None:
    mark, victim = uuid4().hex[:8], chance.choice(cluster.servers)
    await asyncio.to_thread(run_in_shell, victim, MAKE_OUTAGE.format(mark=mark, count=ANSWERS))
    asked = Asked(provider, mark)
    batch = await asyncio.to_thread(begin_batch, victim, mark)
    killed_at = chance.randrange(ANSWERS // 5, ANSWERS * 4 // 5)
    await provider.wait_until(lambda: len(asked.find_requests()) >= killed_at, WITHIN)
    victim.kill()
    if len(cluster.servers) == 1:
        await asyncio.to_thread(victim.start)
    other = next(server for server in cluster.servers if server.running)
    await asyncio.to_thread(wait_for_end, other)
    found = json.loads(await asyncio.to_thread(run_in_shell, other, READ.format(batch=batch, mark=mark)))
    print(f"killed after {killed_at} of {ANSWERS}: {Counter(map(tuple, found['items']))}")
    if not victim.running:
        await asyncio.to_thread(victim.start)
    assert_exact(found, asked.find_requests())


def assert_exact(found: dict[str, Any], requests: list[RecordedRequest]) -> None:
    """Assert that each answer has one attempt more, each attempt has one call, and each question was asked once."""
    outcomes = Counter((status, code) for status, code in found["items"])
    lost = outcomes.pop(("failed", "server_lost"), 0)
    assert lost <= AT_ONCE, "those that were being written when the process died"
    assert outcomes == {("complete", ""): ANSWERS - lost}
    assert found["attempts of a question"] == {"2": ANSWERS}
    assert found["calls of an attempt"] == {"1": ANSWERS}
    assert found["calls"] == ANSWERS
    assert found["models"] == [f"openai:{OTHER}"]
    each = Counter(request.prompt for request in requests)
    assert set(each.values()) == {1}
    assert len(each) >= ANSWERS - lost  # a process may die after it wrote the row and before it sent the request
    assert count_most_at_once(requests) <= AT_ONCE


class Asked:
    """The upstream calls whose question contains a mark, which all questions of one outage do."""

    def __init__(self, provider: ProviderServer, mark: str) -> None:
        self._provider, self._mark = provider, mark
        self._looked_at = len(provider.requests)
        self._found: list[RecordedRequest] = []

    def find_requests(self) -> list[RecordedRequest]:
        new = self._provider.requests[self._looked_at :]
        self._looked_at += len(new)
        self._found += [request for request in new if self._mark in request.prompt]
        return self._found


def count_most_at_once(requests: Iterable[RecordedRequest]) -> int:
    moments = []
    for request in requests:
        end = request.finished_at or request.closed_at
        assert end is not None
        moments += [(request.started, 1), (end, -1)]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def begin_batch(server: Server, mark: str) -> str:
    """Retry the outage on another model, and return the id of the batch."""
    with closing(log_in_demo(server)) as client:
        form = {"reason": "Outage", "user": mark, "with_model": f"openai:{OTHER}"}
        sent = client.post("/staff/retry/", data={**form, "csrfmiddlewaretoken": client.cookies["csrftoken"]})
        return sent.headers["Location"].split("/")[-2]


def wait_for_end(server: Server) -> None:
    """Wait until the list of batches says that the latest one is finished; unlike a batch's page, it takes none up."""
    end = time.monotonic() + WITHIN
    with closing(log_in_demo(server)) as client:
        while not is_finished(client):
            assert time.monotonic() < end, "the batch did not end"
            time.sleep(0.5)


def is_finished(client: httpx2.Client) -> bool:
    page = client.get("/staff/batches/").text
    return "<td>finished</td>" in page.partition("<tbody>")[2].partition("</tr>")[0]
