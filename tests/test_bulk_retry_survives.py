"""A batch of retries whose process is killed in the middle is gone on with, and nothing is asked twice."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx2

from tests.databases import prepared
from tests.provider_server import ProviderServer, Script
from tests.server import logged_in

# The lease runs out after 3 s; a loaded machine may need many times what the rest takes.
LONG = 90.0

MAKE_OUTAGE = """
from chat.models import Conversation, Message, User
user = User.objects.create_user("ada")
for number in range(12):
    conversation = Conversation.objects.create(user=user)
    question = Message.objects.create(conversation=conversation, role="user", text=f"Question {number}?")
    Message.objects.create(conversation=conversation, parent=question, role="assistant", status="interrupted",
        error_code="upstream_error", model="openai:gpt-test")
"""


def finished(client: httpx2.Client, batch: str) -> str:
    """The batch's page when it is over."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        page = client.get(batch).text
        if 'data-state="finished"' in page:
            return page
        time.sleep(0.2)
    raise AssertionError(f"the batch did not end:\n{page}")


def test_a_batch_survives_the_death_of_its_process(tmp_path: Path) -> None:
    with ProviderServer.in_thread(Script(text="Yes.", delay_first=0.3)) as provider:
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_LEASE": "3",
            "CHAT_STAFF_RETRIES": "2",
        }
        with prepared("daphne", tmp_path, **environment) as (server, _):
            server.manage("shell", "--no-imports", "-c", MAKE_OUTAGE)
            client = logged_in(server)
            form = {"reason": "Outage", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            batch = client.post("/staff/retry/", data=form).headers["Location"]
            provider.block_until(lambda: len(provider.requests) >= 5, LONG)
            server.kill()
            server.start()
            page = finished(client, batch)
            client.close()
        figures = re.findall(r"<strong>(\d+)</strong> (of 12|complete|failed|skipped)", page)
        numbers = {name: int(number) for number, name in figures}
        assert numbers["of 12"] == 12
        assert numbers["complete"] >= 10  # two were being written when the process died
        assert numbers["complete"] + numbers.get("failed", 0) == 12
        assert len(provider.requests) <= 12
