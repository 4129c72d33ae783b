"""A reader who comes back to an answer that was continued has each character once, and the positions that all have,
wherever before or in the joint it was: in each format, while the rest is being written and later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from asgiref.sync import sync_to_async

from chat.models import ApiToken
from tests.provider_server import ProviderServer, Script
from tests.support.site import NDJSON, SSE, Positioned, Site, join_text
from tests.support.sockets import open_socket

BEFORE, AFTER = "One two ", "three four."
REST = Script(text=AFTER, chunk_size=3, gate_after=6)
JOINT = 2  # positions: the usage and the end of the text before

# Every position of the text, and of the joint.
PLACES = range(1, len(BEFORE) + JOINT + 1)


@pytest.fixture
async def answer(site: Site, provider: ProviderServer) -> str:
    """An answer that is being continued, half of its rest is there."""
    provider.enqueue(Script(text=BEFORE + "lost", chunk_size=4, drop_after=len(BEFORE)), REST)
    failed = await site.ask()
    assert (failed["text"], failed["status"]) == (BEFORE, "interrupted")
    assert (await site.read_events(failed["id"]))[-1].position == len(BEFORE) + JOINT
    response = await site.post(f"/api/answers/{failed['id']}/continue/")
    assert response.status_code == 202
    await provider.wait_for_requests(2)
    return str(failed["id"])


def is_the_rest(events: list[Positioned], after: int) -> None:
    """Assert that text and positions go on where the reader was, and end where everybody's end."""
    assert BEFORE[:after] + join_text(events) == BEFORE + AFTER, after
    expected = after
    for position, event in events:
        if event["type"] != "token":
            continue
        if expected >= len(BEFORE):  # beyond the joint
            expected = max(expected, len(BEFORE) + JOINT)
        expected += len(event["content"])
        assert position == expected, (after, event)
    end = len(BEFORE) + JOINT + len(AFTER)
    assert [(position, event["type"]) for position, event in events[-2:]] == [(end + 1, "usage"), (end + 2, "done")]


async def read_until_beyond_the_joint(live: AsyncIterator[Positioned]) -> AsyncIterator[Positioned]:
    async for positioned in live:
        yield positioned
        if positioned.position > len(BEFORE) + JOINT:
            return


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
async def test_a_program_that_resumes_at_a_joint_has_each_character_once(
    site: Site, provider: ProviderServer, answer: str, media_type: str
) -> None:
    for after in PLACES:
        async with aclosing(site.follow(answer, after, media_type)) as live:
            beyond = [each async for each in read_until_beyond_the_joint(live)]
        position, event = beyond[-1]
        assert (BEFORE + AFTER)[: position - JOINT].endswith(event["content"]), (after, beyond)
    provider.release()
    for after in PLACES:
        is_the_rest(await site.read_events(answer, after, media_type), after)


async def test_a_socket_that_resumes_at_a_joint_has_each_character_once(
    site: Site, provider: ProviderServer, answer: str
) -> None:
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    provider.release()
    await site.read_events(answer)
    for after in PLACES:
        async with open_socket({"authorization": f"Bearer {token}"}) as socket:
            await socket.say(type="follow", answer=answer, after=after)
            frames = await socket.receive_to_the_end()
        is_the_rest([Positioned(frame["position"], frame) for frame in frames], after)


async def test_a_page_that_resumes_at_a_joint_has_each_character_once(
    site: Site, provider: ProviderServer, answer: str
) -> None:
    """A page that has the text up to a place is shown what follows, once."""
    provider.release()
    await site.read_events(answer)
    for after in PLACES:
        page = await site.stream(f"/answers/{answer}/stream/?after={after}")
        body = b"".join([chunk async for chunk in page]).decode()
        ids = [int(line.removeprefix("id: ")) for line in body.split("\n") if line.startswith("id: ")]
        assert ids == sorted(ids)
        assert ids[-1] == len(BEFORE) + JOINT + len(AFTER) + JOINT
        assert body.count(AFTER) == 1, (after, body)
