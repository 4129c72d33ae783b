"""Clients that send something and leave within 20 ms: nothing was kept, or the whole of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.faults import ALONE, MANY, Place, choose_length, choose_places
from tests.faults.leaving import Request, Sender, send_and_leave
from tests.faults.load import LIVE, Asked, Load
from tests.faults.rows import run_in_shell
from tests.support.server import log_in_demo

CLIENTS = choose_length(60, 500)
AT_ONCE = 10
QUICK: dict[str, Any] = {"chunk_size": 20, "delay_between": 0.01}

# An answer takes a tenth of a second; a lost one is found by the sweep when its lease has run out.
ANSWERED_WITHIN = 20.0


@pytest.fixture
def environment() -> dict[str, str]:
    """The default lease, in the short form too: with a shorter one a busy machine would lose answers by itself."""
    return {"CHAT_LEASE": "10"}


@pytest.fixture
async def senders(load: Load) -> AsyncIterator[dict[str, Sender]]:
    """A sender for each server, by its URL."""
    token = load.cluster.token
    senders = {each.url: Sender(await asyncio.to_thread(log_in_demo, each), token) for each in load.cluster.servers}
    yield senders
    for sender in senders.values():
        sender.browser.close()


# Questions

Asking = Callable[[Sender, Asked], Request]

WAYS_TO_ASK: dict[str, Asking] = {
    "page": lambda sender, asked: sender.submit("/send/", make_form(asked)),
    "page of htmx": lambda sender, asked: sender.submit("/send/", make_form(asked), is_htmx=True),
    "API": lambda sender, asked: sender.post(make_path(asked), {"content": asked.content}),
    "API, streaming": lambda sender, asked: sender.post(
        make_path(asked), {"content": asked.content}, Accept="text/event-stream"
    ),
    "API, later": lambda sender, asked: sender.post(
        make_path(asked), {"content": asked.content}, Prefer="respond-async"
    ),
    "WebSocket": lambda sender, asked: sender.say({"type": "send", **make_form(asked)}),
}


def make_form(asked: Asked) -> dict[str, str]:
    return {"content": asked.content, "conversation": asked.conversation}


def make_path(asked: Asked) -> str:
    return f"/api/conversations/{asked.conversation}/messages/"


@pytest.mark.parametrize("place", choose_places(ALONE, MANY, sizes=(1,), redis=(False,)), ids=str)
async def test_a_question_whose_client_left_is_answered_or_was_never_asked(
    place: Place, load: Load, senders: dict[str, Sender]
) -> None:
    left: list[tuple[str, Asked]] = []
    ways = list(WAYS_TO_ASK)

    async def leave(number: int) -> None:
        asked, way = await load.begin_question(100, **QUICK), ways[number % len(ways)]
        await send_and_leave(asked.server, WAYS_TO_ASK[way](senders[asked.server.url], asked), load.chance)
        left.append((way, asked))

    await leave_in_turns(leave, CLIENTS)
    found = Counter([(way, await name_outcome(load, asked)) for way, asked in left])
    print(f"{place}: {dict(sorted(found.items()))}")
    assert {outcome for _, outcome in found} <= {"nothing", "complete"}
    for way in ways:
        assert found[way, "complete"] > 0, way
    # A user who comes back can ask on: no answer is left that is still being written.
    for _, asked in left[:: max(1, CLIENTS // 20)]:
        await ask_further(load, asked)
    check_quiet(load)


async def name_outcome(load: Load, asked: Asked) -> str:
    """Return what became of a question: `nothing`, or the status of its answer once that has ended."""
    match (await settle(load, asked))["messages"]:
        case []:
            return "nothing"
        case [{"role": "user"}, {"role": "assistant", "status": "complete", "text": asked.text}]:
            return "complete"
        case [*_, {"role": "assistant", "status": status, "error": error}]:
            return f"{status} {error and error['code']}"
        case other:
            return str(other)[:200]


# Everything else that changes a conversation


@dataclass(frozen=True)
class Turn:
    """A question and its answer, which a client changes."""

    asked: Asked
    question: str

    @property
    def answer(self) -> str:
        return self.asked.answer

    @property
    def page(self) -> str:
        return f"/c/{self.asked.conversation}/"


Change = Callable[[Sender, Turn], Request]

HALF: dict[str, Any] = {**QUICK, "finish_reason": "length"}
SLOW: dict[str, Any] = {"chunk_size": 5, "delay_between": 0.05}
SETTINGS = {"title": "Another title", "system_prompt": "Be brief."}

CHANGES: dict[str, Change] = {
    "retry, page": lambda sender, on: sender.submit(
        f"/answers/{on.answer}/retry/", {"turn": str(uuid4())}, is_htmx=True
    ),
    "retry, API": lambda sender, on: sender.post(f"/api/answers/{on.answer}/retry/", {}),
    "continue, page": lambda sender, on: sender.submit(f"/answers/{on.answer}/continue/", {}),
    "continue, API": lambda sender, on: sender.post(f"/api/answers/{on.answer}/continue/", {}),
    "edit, page": lambda sender, on: sender.submit("/send/", {**make_form(on.asked), "edits": on.question}),
    "edit, API": lambda sender, on: sender.post(
        make_path(on.asked), {"content": on.asked.content, "edits": on.question}
    ),
    "stop, page": lambda sender, on: sender.submit("/stop/", {"conversation": on.asked.conversation}),
    "stop, API": lambda sender, on: sender.post(f"/api/answers/{on.answer}/stop/", {}),
    "stop, WebSocket": lambda sender, on: sender.say({"type": "stop", "answer": on.answer}),
    "delete, page": lambda sender, on: sender.submit(f"{on.page}delete/", {}),
    "delete while it is answered": lambda sender, on: sender.submit(f"{on.page}delete/", {}),
    "settings, page": lambda sender, on: sender.submit(f"{on.page}settings/", SETTINGS),
}


@pytest.mark.parametrize("place", choose_places(ALONE, sizes=(1,), redis=(False,)), ids=str)
async def test_any_other_change_whose_client_left_is_whole_or_was_never_made(
    place: Place, load: Load, senders: dict[str, Sender]
) -> None:
    left: list[tuple[str, Asked]] = []
    names = list(CHANGES)

    async def leave(number: int) -> None:
        name = names[number % len(names)]
        is_live = "stop" in name or "while" in name
        asked = await load.ask(200 if is_live else 60, **(SLOW if is_live else HALF))
        if not is_live:
            await load.wait_for_end(asked.answer, ANSWERED_WITHIN, asked.server)
        messages = (await load.call("GET", asked.server, f"/api/conversations/{asked.conversation}/"))["messages"]
        request = CHANGES[name](senders[asked.server.url], Turn(asked, messages[0]["id"]))
        await send_and_leave(asked.server, request, load.chance)
        left.append((name, asked))

    await leave_in_turns(leave, CLIENTS)
    found = Counter([(name, await name_change(load, name, asked)) for name, asked in left])
    print(f"{place}: {dict(sorted(found.items()))}")
    assert {outcome for _, outcome in found} <= {"nothing", "all of it"}, found
    for name in names:
        assert found[name, "all of it"] > 0, name
    for _, asked in [each for each in left if "delete" not in each[0]][:: max(1, CLIENTS // 20)]:
        await ask_further(load, asked)
    check_quiet(load)


async def name_change(load: Load, name: str, asked: Asked) -> str:
    """Return what became of a change once all answers have ended: `nothing`, `all of it`, or what is there instead."""
    status, found = await load.send_request("GET", asked.server, f"/api/conversations/{asked.conversation}/")
    if status == 404:
        return "all of it" if "delete" in name else "gone"
    found = await settle(load, asked)
    messages = found["messages"]
    answers = [message for message in messages if message["role"] == "assistant"]
    states = [(answer["status"], answer["text"] == asked.text) for answer in answers]
    if "stop" in name and states == [("stopped", False)] and asked.text.startswith(answers[0]["text"]):
        return "all of it"
    if "continue" in name and states == [("complete", False)]:
        return "all of it" if answers[0]["text"].startswith(asked.text) else "torn"
    if states == [("complete", True)] * (2 if name.startswith(("retry", "edit")) else 1):
        questions = [message for message in messages if message["role"] == "user"]
        is_half = name.startswith("settings") and found["title"] != SETTINGS["title"]
        whole = len(questions) == (2 if name.startswith("edit") else 1) and not is_half
        return "all of it" if whole and name.startswith(("retry", "edit", "settings")) else "nothing"
    if states == [("complete", True)]:
        return "nothing"
    return str(states)


# The staff's bulk retry

FAILED = """
from chat.models import Message, RetryBatch, User
User.objects.update(is_staff=True, is_superuser=True)
Message.objects.filter(pk__in={!r}).update(status="interrupted", error_code="timeout", finish_reason="")
"""
BATCHES = """
import json
from chat.models import RetryBatch
batches = [
    [batch.finished_at is None, batch.items.count(), batch.items.filter(status="waiting").count()]
    for batch in RetryBatch.objects.all()
]
print(json.dumps(batches))
"""


@pytest.mark.parametrize("place", choose_places(MANY, sizes=(1,), redis=(False,)), ids=str)
async def test_a_bulk_retry_whose_member_of_staff_left_is_worked_through(
    place: Place, load: Load, senders: dict[str, Sender]
) -> None:
    asked: list[Asked] = []
    server = load.choose_server()
    for _ in range(choose_length(2, 10)):
        failed = [await load.ask(60, server, **QUICK) for _ in range(4)]
        for one in failed:
            await load.wait_for_end(one.answer, ANSWERED_WITHIN, server)
        await asyncio.to_thread(run_in_shell, server, FAILED.format([str(UUID(one.answer)) for one in failed]))
        asked += failed
        fields = {"code": "timeout", "reason": "An outage.", "turn": str(uuid4())}
        for _ in range(4):
            await send_and_leave(server, senders[server.url].submit("/staff/retry/", fields), load.chance)
    batches: list[Any] = []
    for _ in range(round(ANSWERED_WITHIN * 2)):
        batches = json.loads(await asyncio.to_thread(run_in_shell, server, BATCHES))
        if not any(is_open for is_open, _, _ in batches):
            break
        await asyncio.sleep(0.5)
    print(f"{place}: {batches}")
    assert [batch for batch in batches if batch[0] or batch[2]] == []
    assert sum(count for _, count, _ in batches) == len(asked)
    for one in asked:
        assert all(message.get("status") not in LIVE for message in (await settle(load, one))["messages"])
    check_quiet(load)


# What all of them do


async def leave_in_turns(leave: Callable[[int], Any], count: int) -> None:
    """Let so many clients leave, `AT_ONCE` at a time, and give the servers a second to read what the last ones sent."""
    for begun in range(0, count, AT_ONCE):
        await asyncio.gather(*(leave(number) for number in range(begun, min(begun + AT_ONCE, count))))
    await asyncio.sleep(1)  # a request may still lie in its server's socket


async def settle(load: Load, asked: Asked) -> Any:
    """Wait until none of a conversation's answers is live, for 20 s at most, and return the conversation."""
    conversation: Any = {}
    for _ in range(round(ANSWERED_WITHIN / 0.2)):
        conversation = await load.call("GET", asked.server, f"/api/conversations/{asked.conversation}/")
        if all(message.get("status") not in LIVE for message in conversation["messages"]):
            break
        await asyncio.sleep(0.2)
    return conversation


async def ask_further(load: Load, asked: Asked) -> None:
    further = await load.begin_question(50, asked.server, **QUICK)
    further.conversation = asked.conversation
    assert (await load.follow((await load.send(further)).answer)).status == "complete"


def check_quiet(load: Load) -> None:
    """Check that no response was an error of the server, and that the log has no traceback."""
    assert load.failures == []
    assert [line for line in load.cluster.log().splitlines() if "Traceback" in line] == []
