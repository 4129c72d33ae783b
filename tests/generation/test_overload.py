"""Past what a process holds, new turns wait in a fair queue with a visible place, and past that they are refused with
the time to come back. Answers in progress notice nothing.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from pytest_django import Settings

from chat.generation import pacing, supervisor
from chat.generation.admission import OverloadedError, Slot, SlotQueue
from chat.generation.process import get_runner, make_process
from chat.models import Conversation, Message, ProviderCall, User
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.support.client import Client
from tests.support.databases import serve_new_site
from tests.support.metrics import scrape
from tests.support.questions import HTMX, read_error, send
from tests.support.site import Site
from tests.support.sockets import make_session_headers, open_socket
from tests.support.waiting import wait_until

GATED = Script(text="One two", chunk_size=4, gate_after=4)
SILENT = Script(text="One two", gate_after=0)


# The order in which slots are given


def enter_queue(places: SlotQueue, users: str) -> list[Slot]:
    """Enter the queue once for each of these users, a letter each; return their slots."""
    return [places.enter(ord(user)) for user in users]


def join_users(places: list[Slot]) -> str:
    return "".join(chr(place.user) for place in places)


def release_and_note_order(places: SlotQueue, holders: list[Slot]) -> str:
    """Give the holders' slots back, in this order; return the users who get them, in the order in which they do."""
    order = ""
    for holder in holders:
        before = places.list_waiting()
        places.leave(holder)
        order += join_users([place for place in before if place.is_given])
    return order


def test_the_first_waiting_answer_of_a_user_is_next() -> None:
    places = SlotQueue(1, 3)
    first, *waiting = enter_queue(places, "aaa")
    places.leave(first)
    assert [place.is_given for place in waiting] == [True, False]


def test_the_user_with_the_fewest_slots_is_next() -> None:
    places = SlotQueue(3, 9)
    holders = enter_queue(places, "aab")
    enter_queue(places, "aabc")
    assert join_users(places.list_waiting()) == "cbaa"
    assert release_and_note_order(places, holders) == "cab"


def test_a_crowd_of_one_user_does_not_keep_others_waiting() -> None:
    places = SlotQueue(2, 60)
    holders = enter_queue(places, "a" * 2)
    enter_queue(places, "a" * 50 + "bcbc")
    assert join_users(places.list_waiting()).startswith("bcbc")
    assert release_and_note_order(places, holders[:1]) == "b"
    assert join_users(places.list_waiting()).startswith("cab")
    assert release_and_note_order(places, holders[1:]) == "a"


def test_among_users_with_equally_many_slots_the_first_to_come_is_next() -> None:
    places = SlotQueue(1, 9)
    enter_queue(places, "z")
    enter_queue(places, "abcabc")
    assert join_users(places.list_waiting()) == "abcabc"


def test_an_answer_that_leaves_the_queue_gets_no_slot() -> None:
    places = SlotQueue(1, 2)
    holder, gone, patient = enter_queue(places, "abc")
    places.leave(gone)
    places.leave(holder)
    assert (gone.is_given, patient.is_given) == (False, True)
    assert (places.given, places.waiting) == (1, 0)


def test_a_slot_is_given_back_once() -> None:
    places = SlotQueue(1, 2)
    first, second, third = enter_queue(places, "aaa")
    places.leave(first)
    places.leave(first)
    assert (second.is_given, third.is_given, places.given) == (True, False, 1)


def test_a_full_queue_refuses_and_a_place_that_comes_free_lets_in_again() -> None:
    places = SlotQueue(1, 1)
    holder, _ = enter_queue(places, "ab")
    with pytest.raises(OverloadedError):
        places.enter(1)
    places.leave(holder)
    places.enter(1)
    assert (places.given, places.waiting) == (1, 1)


def find_refusal_after(places: SlotQueue, seconds: float, monkeypatch: pytest.MonkeyPatch, times: int = 200) -> int:
    """Return the seconds after which a refused turn is told to come back, where all answers have taken so long."""
    now = 0.0
    monkeypatch.setattr("chat.generation.admission.time.monotonic", lambda: now)
    for _ in range(times):
        place = places.enter(1)
        place.use()
        now += seconds
        places.leave(place)
    while True:
        try:
            places.enter(1)
        except OverloadedError as refusal:
            return check_time_to_come_back(refusal)


def check_time_to_come_back(refusal: OverloadedError) -> int:
    assert f" {refusal.retry_after} s." in refusal.sentence
    return refusal.retry_after


@pytest.mark.parametrize(
    ("most", "waiting", "seconds", "told"),
    [(10, 0, 40, 4), (10, 9, 10, 10), (500, 500, 20, 21), (10, 0, 0.1, 1), (1, 50, 100, 60)],
)
def test_the_time_to_come_back_follows_from_how_long_answers_take(
    most: int, waiting: int, seconds: float, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 slots, 40 s an answer: one comes free every 4 s. Never less than a second, never more than a minute."""
    assert find_refusal_after(SlotQueue(most, waiting), seconds, monkeypatch) - told in {0, 1}


def test_a_turn_that_never_began_says_nothing_about_how_long_answers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    places, untouched = SlotQueue(2, 0), SlotQueue(2, 0)
    for _ in range(50):
        places.leave(places.enter(1))
    assert find_refusal_after(places, 0, monkeypatch, 0) == find_refusal_after(untouched, 0, monkeypatch, 0) > 1


# Waiting


def limit_slots(most: int, waiting: int) -> SlotQueue:
    """Give the process so many slots, and room for so many answers that wait; return the queue."""
    get_runner().resources.slots = SlotQueue(most, waiting)
    return get_runner().resources.slots


async def open_site_for(name: str) -> Site:
    return await sync_to_async(Site)(await sync_to_async(User.objects.create_user)(name))


async def is_waiting(number: int) -> None:
    await wait_until(lambda: get_runner().resources.slots.waiting == number)


async def is_empty() -> None:
    await wait_until(lambda: (get_runner().resources.slots.given, get_runner().resources.slots.waiting) == (0, 0))


async def read_notices(site: Site, answer: str, *sentences: str) -> list[str]:
    """Follow an answer, and return its notices, up to the last of these sentences or to the answer's end."""
    notices = []
    async for _, event in site.follow(answer):
        if event["type"] == "notice":
            assert (event["code"], event["retry_after"]) == ("stalled", None)
            notices.append(event["message"])
            if sentences and notices[-1] == sentences[-1]:
                break
    return notices


async def wait_for_end(site: Site, answer: str) -> dict[str, Any]:
    async def is_over() -> bool:  # by the database: a request to the site counts as a follower
        return not await Message.objects.live().filter(pk=answer).aexists()

    await wait_until(is_over)
    return await site.answer(answer)


NEXT = "The site is busy. Your answer is next."
ONE_BEFORE = "The site is busy. 1 answer is before yours."
TWO_BEFORE = "The site is busy. 2 answers are before yours."
SLOT_GIVEN = "The site is busy. It is your answer's turn now."


async def test_readers_are_told_their_place_in_the_queue_as_it_counts_down(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "TELL_QUEUE_EVERY", 0)
    monkeypatch.setattr(supervisor, "TELL_EACH_QUEUED", 0)
    limit_slots(1, 3)
    provider.script = SILENT
    answers = [await site.begin() for _ in range(4)]
    reading = asyncio.ensure_future(read_notices(site, answers[3]))
    await read_notices(site, answers[3], TWO_BEFORE)
    for number, known in enumerate((ONE_BEFORE, NEXT, SLOT_GIVEN), 1):
        request = await provider.wait_for_requests(number)
        await provider.wait_until_paused(request)
        provider.release()
        await read_notices(site, answers[3], known)
    await provider.wait_until_paused(await provider.wait_for_requests(4))
    provider.release()
    assert await asyncio.wait_for(reading, 10) == [TWO_BEFORE, ONE_BEFORE, NEXT, SLOT_GIVEN]
    assert [(await wait_for_end(site, answer))["status"] for answer in answers] == ["complete"] * 4


async def test_the_page_shows_the_place_until_the_first_word(site: Site, provider: ProviderServer) -> None:
    limit_slots(1, 1)
    provider.script = SILENT
    await site.begin()
    await provider.wait_until_paused(await provider.wait_for_requests(1))
    answer = await site.begin()
    response = await site.stream(f"/answers/{answer}/stream/?after=0")
    page, released = "", 0
    async for chunk in response:
        assert isinstance(chunk, bytes)
        page += chunk.decode()
        if (notices := ("is next." in page) + ("turn now." in page)) > released:
            await provider.wait_until_paused(await provider.wait_for_requests(notices))
            provider.release()
            released += 1
    notice = f'#notice-{answer}" hx-swap="innerHTML">'
    shown = [part.partition("</hx-partial>")[0] for part in page.split(notice)[1:]]
    assert [("next." in part, "turn now." in part) for part in shown] == [(True, False), (False, True), (False, False)]
    assert "<p" not in shown[-1]


@pytest.fixture
def told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TELL_QUEUE_EVERY", 60)


# The minute begins with the site: the fixture comes first.
async def test_places_are_not_told_faster_than_a_loop_can_bear(
    told_once_a_minute: None, site: Site, provider: ProviderServer
) -> None:
    limit_slots(1, 3)
    provider.script = SILENT
    first, stopped, last = [await site.begin() for _ in range(3)]
    await read_notices(site, last, ONE_BEFORE)
    reading = asyncio.ensure_future(read_notices(site, last))
    await site.stop(stopped)
    await asyncio.sleep(5 * 0.05)  # five ticks of the supervisor
    provider.release()
    await wait_for_end(site, first)
    await provider.wait_until_paused(await provider.wait_for_requests(2))
    provider.release()
    assert await asyncio.wait_for(reading, 10) == [ONE_BEFORE, SLOT_GIVEN]


async def test_a_user_with_many_answers_does_not_keep_another_waiting(site: Site, provider: ProviderServer) -> None:
    places = limit_slots(2, 9)
    provider.script = GATED
    crowd = [await site.begin(f"Ada {number}") for number in range(5)]
    grace = await open_site_for("grace")
    guest = await grace.begin("Grace")
    assert places.waiting == 4
    await read_notices(grace, guest, NEXT)
    await site.stop(crowd[0])
    request = await provider.wait_for_requests(3)
    assert "Grace" in json.dumps(request.body)
    assert (await site.answer(crowd[2]))["status"] == "queued"


async def test_a_silence_notice_comes_only_after_the_upstream_call_has_begun(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_IDLE_NOTICE = 0.1
    limit_slots(1, 1)
    provider.script = Script(gate_after=0)
    first, second = await site.begin(), await site.begin()
    reading = asyncio.ensure_future(read_notices(site, second))
    await read_notices(site, first, *(await read_silence_notice(site, first)))
    await asyncio.sleep(3 * settings.CHAT_IDLE_NOTICE)  # time for a notice that must not come
    await site.stop(first)
    silent = await read_silence_notice(site, second)
    await site.stop(second)
    assert await asyncio.wait_for(reading, 10) == [NEXT, SLOT_GIVEN, *silent]


async def read_silence_notice(site: Site, answer: str) -> list[str]:
    async for _, event in site.follow(answer):
        if event["type"] == "notice" and "silent" in event["message"]:
            return [event["message"]]
    raise AssertionError("nobody was told")


async def test_no_time_of_the_upstream_call_runs_while_it_waits(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = 0.5
    limit_slots(1, 1)
    provider.enqueue(Script(text="a b c d e f ", chunk_size=2, delay_between=0.2))
    provider.script = Script(text="Mine.", delay_first=0.2)
    before = await scrape()
    await site.begin()
    answer = await site.begin()
    assert (await wait_for_end(site, answer))["status"] == "complete"
    after = await scrape()
    call = await ProviderCall.objects.aget(answer=uuid.UUID(answer))
    assert call.first_token_ms is not None
    assert call.first_token_ms < 800

    def measure_difference(name: str) -> float:
        return after.get_sample(name, model="openai:gpt-test") - before.get_sample(name, model="openai:gpt-test")

    assert measure_difference("chat_answer_queue_seconds_sum") > 0.8
    assert measure_difference("chat_answer_first_token_seconds_count") == 2
    assert measure_difference("chat_answer_first_token_seconds_sum") < 0.8


async def test_answers_in_progress_are_read_at_the_pace_of_those_in_progress(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "PAUSE_PER_ANSWER", 0.01)
    monkeypatch.setattr(pacing, "STRETCH_PER_SECOND", 0)
    limit_slots(1, 5)
    provider.script = GATED
    await site.begin()
    alone = get_runner().resources.pace.pause
    for _ in range(5):
        await site.begin()
    await is_waiting(5)
    assert get_runner().resources.pace.pause == alone == 0.01


async def test_an_answer_keeps_its_place_over_all_its_steps(site: Site, provider: ProviderServer) -> None:
    get_runner().resources.toolbox = Toolbox(["tests.generation.test_tool_loop.slow"])
    limit_slots(1, 1)
    provider.enqueue(Script(text="I look.", tool_calls=[Call("slow", '{"seconds": 0.2}')]))
    provider.script = Script(text="Done.")
    first = await site.begin("First")
    second = await site.begin("Second")
    assert {(await wait_for_end(site, answer))["status"] for answer in (first, second)} == {"complete"}
    asked = ["Second" in json.dumps(request.body) for request in provider.requests]
    assert asked == [False, False, True]


# Ends of answers that wait


async def begin_one_and_let_one_wait(site: Site, provider: ProviderServer) -> tuple[str, str]:
    """Begin an answer that holds the only slot, and one that waits for it; return both."""
    limit_slots(1, 1)
    provider.script = GATED
    asked = len(provider.requests)
    answers = await site.begin(), await site.begin()
    await provider.wait_until_paused(await provider.wait_for_requests(asked + 1))
    assert get_runner().resources.slots.waiting == 1
    return answers


async def check_that_it_cost_nothing(answer: str) -> None:
    call = await ProviderCall.objects.aget(answer=uuid.UUID(answer))
    assert (call.input_tokens, call.output_tokens) == (0, 0)
    assert call.outcome != "running"


async def test_stopping_a_waiting_answer_makes_no_call(site: Site, provider: ProviderServer) -> None:
    begun, waiting = await begin_one_and_let_one_wait(site, provider)
    stopped = await site.stop(waiting)
    assert (stopped["status"], stopped["error"], stopped["text"]) == ("stopped", None, "")
    await check_that_it_cost_nothing(waiting)
    assert get_runner().resources.slots.waiting == 0
    provider.release()
    assert (await wait_for_end(site, begun))["text"] == "One two"
    assert len(provider.requests) == 1
    await is_empty()


async def test_a_waiting_answer_that_nobody_watches_is_cut_off(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    begun, waiting = await begin_one_and_let_one_wait(site, provider)
    settings.CHAT_ABANDON_AFTER = 0.3
    with get_runner().count_watcher(uuid.UUID(begun)):
        assert (await wait_for_end(site, waiting))["error"]["code"] == "abandoned"
    await check_that_it_cost_nothing(waiting)
    assert get_runner().resources.slots.waiting == 0


async def test_an_answer_that_waits_too_long_says_why_and_may_be_retried(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_TOTAL_TIMEOUT = 1.0
    limit_slots(1, 1)
    provider.script = GATED
    await site.begin()
    await provider.wait_for_requests(1)
    settings.CHAT_TOTAL_TIMEOUT = 0.3
    answer = await site.begin()
    events = await site.read_events(answer)
    assert events[-1].event == {
        "type": "error",
        "code": "overloaded",
        "message": "The site was too busy to begin this answer.",
        "retryable": True,
    }
    await check_that_it_cost_nothing(answer)
    await is_empty()
    again = await site.retry(answer)
    await provider.wait_until_paused(await provider.wait_for_requests(2))
    provider.release()
    assert (await wait_for_end(site, again))["status"] == "complete"


async def test_a_drain_ends_who_still_waits_after_it(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = 0
    begun, waiting = await begin_one_and_let_one_wait(site, provider)
    await asyncio.wait_for(get_runner().drain(0.2), 10)
    for answer, text in ((begun, "One "), (waiting, "")):
        cut = await site.answer(answer)
        assert (cut["status"], cut["error"]["code"], cut["text"]) == ("interrupted", "server_restart", text)
    await check_that_it_cost_nothing(waiting)
    assert len(provider.requests) == 1
    await is_empty()


async def test_a_drain_lets_who_waits_begin_while_there_is_time(site: Site, provider: ProviderServer) -> None:
    begun, waiting = await begin_one_and_let_one_wait(site, provider)
    draining = asyncio.ensure_future(get_runner().drain(10))
    await wait_until(lambda: get_runner().draining)
    provider.release()
    await provider.wait_until_paused(await provider.wait_for_requests(2))
    provider.release()
    await asyncio.wait_for(draining, 10)
    assert [(await site.answer(answer))["status"] for answer in (begun, waiting)] == ["complete"] * 2


async def test_a_lease_is_renewed_while_waiting(site: Site, provider: ProviderServer) -> None:
    _, waiting = await begin_one_and_let_one_wait(site, provider)
    first = (await Message.objects.aget(pk=waiting)).lease_until
    assert first is not None

    async def is_renewed() -> bool:
        now = (await Message.objects.aget(pk=waiting)).lease_until
        return now is not None and now > first

    await wait_until(is_renewed)


def test_the_owner_of_a_waiting_answer_is_killed(tmp_path: Path) -> None:
    with ProviderServer.run_in_thread(GATED) as provider:
        environment = {"OPENAI_BASE_URL": provider.openai_url, "CHAT_MODELS": "openai:gpt-test", "CHAT_LEASE": "2"}
        with serve_new_site("uvicorn", tmp_path, CHAT_LIVE_ANSWERS="1", **environment) as (server, token):
            with Client(server, token) as client:
                answers = [client.begin(), client.begin()]
                provider.block_until(lambda: len(provider.requests) == 1)
                assert client.answer(answers[1])["status"] == "queued"
            server.kill()
            assert server.manage("reap", "--wait") == "2 answers interrupted."
            server.start()
            with Client(server, token) as client:
                assert [client.answer(answer)["error"]["code"] for answer in answers] == ["server_lost"] * 2


# Slots are given back


@pytest.mark.parametrize(
    "script",
    [Script(status=401), Script(text="One", eof_after=2), Script(text="One", malformed_json_after=1), Script()],
    ids=["refused", "cut short", "malformed", "complete"],
)
async def test_an_answer_gives_its_place_back_however_it_ends(
    site: Site, provider: ProviderServer, script: Script
) -> None:
    limit_slots(1, 2)
    provider.script = script
    for answer in [await site.begin() for _ in range(3)]:
        await wait_for_end(site, answer)
    assert len(provider.requests) == 3
    await is_empty()


async def test_a_turn_that_begins_nothing_keeps_no_place(site: Site, provider: ProviderServer) -> None:
    limit_slots(2, 0)
    provider.script = GATED
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    answer = await site.begin(conversation=conversation, turn=turn)
    assert await site.begin(conversation=conversation, turn=turn) == answer
    assert (await send(site, conversation)).status_code == 409
    assert get_runner().resources.slots.given == 1


async def test_all_that_wait_and_are_stopped_at_once_leak_no_place(site: Site, provider: ProviderServer) -> None:
    limit_slots(2, 20)
    provider.script = GATED
    answers = [await site.begin() for _ in range(12)]
    await asyncio.gather(*(site.stop(answer) for answer in answers))
    await is_empty()
    provider.script = Script(text="Free.")
    assert (await site.ask())["text"] == "Free."


# When the queue is full too


async def test_a_full_queue_is_a_503_with_the_time_to_come_back(site: Site, provider: ProviderServer) -> None:
    begun, waiting = await begin_one_and_let_one_wait(site, provider)
    conversation = await site.begin_conversation()
    response = await send(site, conversation)
    status, code, sentence = read_error(response)
    seconds = response.headers["Retry-After"]
    assert (status, code) == (503, "overloaded")
    assert sentence == f"The site is too busy to take another question. Try again in {seconds} s."
    assert 1 <= int(seconds) <= 60
    assert not await Message.objects.filter(conversation=uuid.UUID(conversation)).aexists()
    assert await ProviderCall.objects.acount() == 2
    provider.release()
    await provider.wait_until_paused(await provider.wait_for_requests(2))
    provider.release()
    assert [(await wait_for_end(site, answer))["text"] for answer in (begun, waiting)] == ["One two"] * 2


async def test_the_page_shows_an_overload_under_the_composer_and_keeps_the_text(
    site: Site, provider: ProviderServer
) -> None:
    await begin_one_and_let_one_wait(site, provider)
    kept = await Message.objects.acount(), await Conversation.objects.acount()
    question = {"content": "My long question", "turn": str(uuid.uuid4())}
    response: Any = await site.client.post("/send/", question, headers=HTMX)
    assert (response.status_code, response.headers["HX-Retarget"]) == (503, "#composer-error")
    assert response.headers["Retry-After"] in response.content.decode()
    assert b"The site is too busy to take another question." in response.content
    without_scripts: Any = await site.client.post("/send/", question)
    assert without_scripts.status_code == 503
    assert b"My long question</textarea>" in without_scripts.content
    assert (await Message.objects.acount(), await Conversation.objects.acount()) == kept


@pytest.mark.parametrize("way", ["retry", "continue"])
async def test_retry_and_continue_are_refused_alike(site: Site, provider: ProviderServer, way: str) -> None:
    provider.enqueue(Script(text="One two", eof_after=4))
    partial = await site.ask()
    await begin_one_and_let_one_wait(site, provider)
    path = f"answers/{partial['id']}/{way}/"
    refusals: list[HttpResponse] = [
        await site.post(f"/api/{path}"),
        await site.client.post(f"/{path}", headers=HTMX),  # type: ignore[list-item]  # django-stubs: a response of the client
    ]
    assert [response.status_code for response in refusals] == [503, 503]
    assert all(1 <= int(response.headers["Retry-After"]) <= 60 for response in refusals)
    assert await site.answer(partial["id"]) == partial
    assert await Message.objects.answers().acount() == 3


async def test_the_socket_gets_an_error_frame_with_the_time(site: Site, provider: ProviderServer) -> None:
    await begin_one_and_let_one_wait(site, provider)
    async with open_socket(make_session_headers(site)) as socket:
        await socket.say(type="send", content="Hello")
        frame = await socket.receive()
    assert (frame["type"], frame["code"]) == ("error", "overloaded")
    assert 1 <= frame["retry_after"] <= 60


async def test_simultaneous_questions_get_in_as_far_as_there_is_room(site: Site, provider: ProviderServer) -> None:
    limit_slots(2, 3)
    provider.script = GATED
    conversations = [await site.begin_conversation() for _ in range(12)]
    responses = await asyncio.gather(*(send(site, conversation) for conversation in conversations))
    assert sorted(response.status_code for response in responses) == [202] * 5 + [503] * 7
    assert await Message.objects.answers().acount() == 5


async def test_without_a_queue_a_question_beyond_the_slots_is_refused(site: Site, provider: ProviderServer) -> None:
    limit_slots(1, 0)
    provider.script = GATED
    answer = await site.begin()
    assert (await send(site)).status_code == 503
    await provider.wait_until_paused(await provider.wait_for_requests(1))
    provider.release()
    await wait_for_end(site, answer)
    assert (await send(site)).status_code == 202


async def test_the_settings_give_the_number_of_slots_and_of_places_in_the_queue(settings: Settings, site: Site) -> None:
    settings.CHAT_LIVE_ANSWERS, settings.CHAT_WAITING_ANSWERS = 2, 1
    places = make_process().runner.resources.slots
    enter_queue(places, "abc")
    assert (places.given, places.waiting) == (2, 1)
    with pytest.raises(OverloadedError):
        places.enter(1)


async def test_metrics_show_live_and_waiting_answers(site: Site, provider: ProviderServer) -> None:
    await begin_one_and_let_one_wait(site, provider)
    now = await scrape()
    assert (now.get_sample("chat_live_answers"), now.get_sample("chat_waiting_answers")) == (1, 1)
    assert (await site.get("/readyz")).status_code == 200
