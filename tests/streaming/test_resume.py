"""Text before any cut and text after the reconnect are the whole text: no gap, no repeat, in every format."""

from __future__ import annotations

import pytest

from tests.provider_server import ProviderServer, Script
from tests.support.site import NDJSON, SSE, Positioned, Site, from_ndjson, from_sse, join_text

pytestmark = pytest.mark.database

TEXT = "Zürich, 東京 and 🚀.\n\n- one\n- two\n"


@pytest.fixture(params=[SSE, NDJSON])
def media_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_finished_answer_is_resumed_exactly_from_every_position(
    site: Site, provider: ProviderServer, media_type: str
) -> None:
    provider.script = Script(text=TEXT, chunk_size=3)
    answer = (await site.ask())["id"]
    whole = await site.read_events(answer, media_type=media_type)
    assert join_text(whole) == TEXT
    for cut in range(1, len(TEXT) + 1):
        after = await site.read_events(answer, cut, media_type)
        assert join_text(after) == TEXT[cut:]
        assert after[-1] == whole[-1]


async def test_a_live_answer_is_resumed_exactly_from_every_position(
    site: Site, provider: ProviderServer, media_type: str
) -> None:
    """Readers come at every position while half of the answer is said, and all of them read on to its end."""
    provider.script = Script(text=TEXT, chunk_size=1, gate_after=len(TEXT) // 2)
    answer = await site.begin()
    seen: list[Positioned] = []
    async for positioned in site.follow(answer, media_type=media_type):
        seen.append(positioned)
        if positioned.position == len(TEXT) // 2:
            break
    assert join_text(seen) == TEXT[: len(TEXT) // 2]
    provider.release()
    for cut in [position for position, _ in seen if position]:
        assert join_text(await site.read_events(answer, cut, media_type)) == TEXT[cut:]


async def test_each_event_that_a_reader_had_is_a_place_to_go_on_from(
    site: Site, provider: ProviderServer, media_type: str
) -> None:
    provider.script = Script(text=TEXT, chunk_size=2, delay_between=0.005)
    answer = await site.begin()
    whole = await site.read_events(answer, media_type=media_type)
    for index, (position, _) in enumerate(whole[1:-1], start=1):
        before, after = whole[: index + 1], await site.read_events(answer, position, media_type)
        assert join_text(before) + join_text(after) == TEXT
        assert after[-1] == whole[-1]


async def test_a_reader_that_has_the_last_event_is_told_to_stop_asking(
    site: Site, provider: ProviderServer, media_type: str
) -> None:
    """An `EventSource` connects again after every end of a response but a 204."""
    provider.script = Script(text=TEXT, gate_after=4)
    answer = await site.begin()
    path = f"/api/answers/{answer}/events/"
    live = await site.stream(path, accept=media_type, last_event_id=str(len(TEXT) + 2))
    provider.release()
    last = (await site.read_events(answer, media_type=media_type))[-1].position
    assert last == len(TEXT) + 2
    for given, headers in (("", {"last_event_id": str(last)}), (f"?after={last}", {})):
        response = await site.get(path + given, accept=media_type, **headers)
        assert (response.status_code, response.content) == (204, b"")
    # A reader that says it is there before the answer is waits for the end, and then has the end's position.
    parse = from_sse if media_type == SSE else from_ndjson
    events, _ = parse(b"".join([chunk async for chunk in live]))
    assert [(position, event["type"]) for position, event in events] == [(last, "done")]


async def test_the_usage_is_not_repeated(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="All.")
    answer = (await site.ask())["id"]
    kinds = [event["type"] for _, event in await site.read_events(answer)]
    assert kinds == ["start", "token", "usage", "done"]
    assert [event["type"] for _, event in await site.read_events(answer, 4)] == ["usage", "done"]
    assert [event["type"] for _, event in await site.read_events(answer, 5)] == ["done"]


async def test_the_header_of_a_reconnect_counts_before_the_address(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two")
    answer = (await site.ask())["id"]
    response = await site.stream(f"/api/answers/{answer}/events/?after=1", last_event_id="4")
    body = b"".join([chunk async for chunk in response])
    assert b'"content":"two"' in body


async def test_a_reader_with_only_the_start_does_not_get_it_again(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two")
    answer = (await site.ask())["id"]
    response = await site.stream(f"/api/answers/{answer}/events/", last_event_id="0")
    body = b"".join([chunk async for chunk in response])
    assert b'"start"' not in body
    assert b'"content":"One two"' in body


async def test_a_late_tab_gets_everything(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=8)
    answer = await site.begin()
    async for position, _ in site.follow(answer):
        if position == 8:
            break
    async for position, event in site.follow(answer):
        if position == 8:
            provider.release()
        if event["type"] == "done":
            break
    assert join_text(await site.read_events(answer)) == "One two three"


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 40])
async def test_an_invalid_position_is_refused(site: Site, provider: ProviderServer, value: str) -> None:
    answer = (await site.ask())["id"]
    response = await site.get(f"/api/answers/{answer}/events/?after={value}")
    assert response.status_code == 400
