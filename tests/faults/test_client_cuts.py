"""Connections break at random places and come back at any server: not a character is missing or said twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.faults import ALONE, FILE, MANY, Place, choose_length, choose_places
from tests.faults.load import Load

ANSWERS = choose_length(12, 50)
CUTS = choose_length(30, 100)
CHARACTERS = choose_length(1000, 1500)
PACE: dict[str, Any] = {"chunk_size": 7, "delay_between": 0.02}  # 3 to 4 s for an answer


@pytest.mark.parametrize("place", choose_places(ALONE, MANY), ids=str)
async def test_text_before_the_cuts_and_text_after_them_are_the_whole_text(place: Place, load: Load) -> None:
    cuts = [CUTS // ANSWERS + (number < CUTS % ANSWERS) for number in range(ANSWERS)]
    questions = [await load.begin_question(CHARACTERS, **PACE) for _ in cuts]
    asked = await asyncio.gather(*(load.send(question) for question in questions))
    readings = await asyncio.gather(
        *(load.follow(one.answer, cuts=number, characters=CHARACTERS) for one, number in zip(asked, cuts, strict=True))
    )
    for one, reading in zip(asked, readings, strict=True):
        assert reading.torn == []
        assert reading.text == one.text
        assert reading.ends == [{"type": "done", "status": "complete", "reason": "stop"}]
        kept = await load.answer(one.answer)
        assert (kept["status"], kept["text"]) == ("complete", one.text)
        assert [recorded.sent_characters for recorded in load.find_requests(one)] == [CHARACTERS]
    # One event may pass two of the places, which makes one cut, and an answer may end before the last of its cuts.
    assert sum(reading.connections - 1 for reading in readings) > CUTS / 2
    assert load.failures == []


@pytest.mark.parametrize("place", choose_places(FILE), ids=str)
async def test_a_program_that_is_cut_off_while_it_asks_finds_its_answer_by_the_same_turn(
    place: Place, load: Load
) -> None:
    """The response to the question breaks off; the question, sent again with the same turn, has the same answer."""
    turn = "9d6f6c3e-0b5c-4e0e-8f10-000000000001"
    question = await load.begin_question(CHARACTERS, **PACE)
    path = f"/api/conversations/{question.conversation}/messages/"
    body = {"content": question.content, "turn": turn}
    headers = {"accept": "text/event-stream"}
    async with load.http.post(question.server.url + path, json=body, headers=headers) as response:
        await response.content.readany()
        response.close()
    asked = await load.send(question, turn=turn)
    reading = await load.follow(asked.answer)
    assert (reading.text, reading.status, reading.torn) == (question.text, "complete", [])
    assert len(load.find_requests(question)) == 1
