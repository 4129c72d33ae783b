"""A program that asks for its answer again and again is watching it, whichever process it asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from pytest_django import Settings

from chat.models import Message
from tests.provider_server import ProviderServer, Script
from tests.support import databases
from tests.support.server import Cluster
from tests.support.site import Site
from tests.support.waiting import PATIENCE, wait_until

# Said within 2.4 s: five times as long as nobody may be away.
LONG = Script(text="a b c d e f g h ", chunk_size=2, delay_between=0.3)
AWAY = 0.5


@pytest.mark.parametrize("path", ["/api/answers/{answer}/", "/api/conversations/{conversation}/"])
async def test_an_answer_that_is_asked_for_is_not_cut_off(
    site: Site, provider: ProviderServer, settings: Settings, path: str
) -> None:
    settings.CHAT_ABANDON_AFTER = AWAY
    provider.script = LONG
    conversation = await site.begin_conversation()
    answer = await site.begin(conversation=conversation)
    address = path.format(answer=answer, conversation=conversation)

    async def is_over() -> bool:
        await asyncio.sleep(AWAY / 5)
        await site.get(address)
        return not await Message.objects.live().aexists()

    await wait_until(is_over)
    assert (await site.answer(answer))["status"] == "complete"


@pytest.mark.database
async def test_asking_another_process_counts(tmp_path: Path, provider: ProviderServer) -> None:
    provider.script = Script(text="a b c d e f g h ", chunk_size=2, delay_between=0.8)
    database, token = databases.prepare_tested_database(tmp_path)
    environment = {
        "OPENAI_BASE_URL": provider.openai_url,
        "CHAT_MODELS": "openai:gpt-test",
        "CHAT_ABANDON_AFTER": "2.5",
    }
    cluster = Cluster("uvicorn", database, token, size=2, logs=tmp_path, **environment)
    await asyncio.to_thread(cluster.start)
    try:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE) as http:
            owner, other = (server.url for server in cluster.servers)
            conversation = (await http.post(f"{owner}/api/conversations/")).json()["id"]
            asked = await http.post(
                f"{owner}/api/conversations/{conversation}/messages/",
                json={"content": "Hello"},
                headers={"prefer": "respond-async"},
            )
            address = f"{other}/api/answers/{asked.json()['answer']}/"

            async def is_over() -> bool:
                await asyncio.sleep(0.3)
                return (await http.get(address)).json()["status"] not in {"queued", "streaming"}

            await wait_until(is_over)
            found = (await http.get(address)).json()
            assert (found["status"], found["text"]) == ("complete", "a b c d e f g h ")
    finally:
        cluster.kill()
