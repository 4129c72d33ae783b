"""A search finds what it finds however many of the newest entries are looked through without the index of words."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from chat.models import Message, Status, User
from chat.search import postgres, sqlite
from chat.search.hits import Filters
from tests.support.searching import find, index_all, keep_turn

WORDS = ("sky", "sea", "red")
ANSWERS = [" ".join(words) for words in product(WORDS, repeat=3)]
PHRASES = ["sky sea", "sea red", "red red", "sky sky sky"]
STOPPED = ANSWERS[::4]


@pytest.fixture
def answers(user: User) -> None:
    """Answers of three words, each with each; a fourth of them stopped, and as many of somebody else."""
    other = User.objects.create_user("other")
    for answer in ANSWERS:
        keep_turn(user, "", "Question", answer)
        keep_turn(other, "", "Question", answer)
    Message.objects.filter(text__in=STOPPED).update(status=Status.STOPPED)
    index_all()


def has_phrase(answer: str, phrase: str) -> bool:
    return f" {phrase} " in f" {answer} "


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("status", ["", "stopped", "complete", "interrupted"])
@pytest.mark.parametrize("newest", [1, 5, 20, 26, 27, 28, 80, 81, 82])
def test_all_with_a_phrase_are_found(user: User, monkeypatch: pytest.MonkeyPatch, newest: int, status: str) -> None:
    for module in (postgres, sqlite):
        monkeypatch.setattr(module, "NEWEST", newest)
    of_status = {"": ANSWERS, "stopped": STOPPED, "complete": [one for one in ANSWERS if one not in STOPPED]}
    for phrase in PHRASES:
        wanted = [one for one in of_status.get(status, []) if has_phrase(one, phrase)]
        assert sorted(find(user, f'"{phrase}"', Filters(status=status))) == sorted(wanted)
    for first, second in pairwise(WORDS):
        wanted = [one for one in of_status.get(status, []) if first in one and second in one]
        assert sorted(find(user, f"{first} {second} ", Filters(status=status))) == sorted(wanted)
