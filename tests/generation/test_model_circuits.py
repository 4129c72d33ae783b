"""A model that has failed again and again is left alone for a while, and one question at a time tries it then."""

from __future__ import annotations

import pytest

from chat.generation.model_circuits import MAX_FAILURES, PAUSE, WITHIN, ModelCircuits
from tests.support.stopped_clock import StoppedClock

MODEL = "openai:gpt-test"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def circuits(clock: StoppedClock) -> ModelCircuits:
    return ModelCircuits(clock)


def fail(circuits: ModelCircuits, times: int = MAX_FAILURES) -> None:
    for _ in range(times):
        circuits.note_failure(MODEL, "upstream_error")


def test_fewer_failures_than_the_limit_keep_the_circuit_closed(circuits: ModelCircuits) -> None:
    fail(circuits, MAX_FAILURES - 1)
    assert not circuits.find_open(MODEL)


def test_the_limit_of_failures_opens_the_circuit_with_the_code_of_the_last(
    circuits: ModelCircuits, clock: StoppedClock
) -> None:
    fail(circuits)
    assert circuits.find_open(MODEL) == "upstream_error"
    clock.now += PAUSE - 1
    assert circuits.find_open(MODEL)
    assert not circuits.find_open("openai:another")


def test_failures_far_apart_keep_the_circuit_closed(circuits: ModelCircuits, clock: StoppedClock) -> None:
    for _ in range(2 * MAX_FAILURES):
        fail(circuits, 1)
        clock.now += WITHIN / (MAX_FAILURES - 1)
    assert not circuits.find_open(MODEL)


def test_an_answer_between_failures_resets_their_count(circuits: ModelCircuits) -> None:
    fail(circuits, MAX_FAILURES - 1)
    circuits.note_answer(MODEL)
    fail(circuits, 1)
    assert not circuits.find_open(MODEL)


def test_after_the_pause_one_question_tries_and_the_others_are_kept_away(
    circuits: ModelCircuits, clock: StoppedClock
) -> None:
    fail(circuits)
    clock.now += PAUSE
    assert not circuits.find_open(MODEL)
    assert circuits.find_open(MODEL)
    circuits.note_answer(MODEL)
    assert not circuits.find_open(MODEL)


def test_a_failed_trial_opens_the_circuit_again(circuits: ModelCircuits, clock: StoppedClock) -> None:
    fail(circuits)
    clock.now += PAUSE
    assert not circuits.find_open(MODEL)
    clock.now += 2 * WITHIN
    fail(circuits, 1)
    assert circuits.find_open(MODEL)


def test_a_trial_that_never_ends_lets_another_one_try(circuits: ModelCircuits, clock: StoppedClock) -> None:
    fail(circuits)
    clock.now += PAUSE
    assert not circuits.find_open(MODEL)
    clock.now += PAUSE
    assert not circuits.find_open(MODEL)
