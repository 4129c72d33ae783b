"""A phrase is found where its words stand one after the other, whatever is between them, and nowhere else.

The newest entries are looked through one by one, so each text is behind a newer one: what is tested is the index.
"""

from __future__ import annotations

import re

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.models import Conversation, User
from chat.search import postgres, sqlite
from chat.search.index import index_some
from tests.support.searching import find, index_all, keep_turn
from tests.support.statements import hear_statements

FOUND = [
    ("The sky is blue", '"sky is"'),
    ("The sky is blue", '"the sky is blue"'),
    ("The sky is blue", '"is" "the sky"'),
    ("The sky is blue", '"sky is" "is blue"'),
    ("The sky: (is) * blue!", '"the sky is blue"'),
    ("The sky\n\n* is\tblue", '"sky is blue"'),
    ("I see a b c", '"see a b"'),
    ("I see a b c", '"a b c"'),
    ("so so it is so", '"so so"'),
    ("so so it is so", '"so it is so"'),
    ("x x x x", '"x x x"'),
    ("Café crème à Orléans", '"CAFE creme a"'),
    ("Cafe\u0301 cre\u0300me", '"café crème"'),
    ("Die Straße nach Łódź", '"strasse nach lodz"'),
    ("snake_case_name", '"snake case" na'),
    ("version 3.11.7", '"version 3.11"'),
    ("東京 sky blue", '"東京 sky blue"'),
    ("sky blue 東京", '"sky blue 東京"'),
    ("AI時代 sky is", '"sky is" 時代'),
    ("Party 🎉 tonight 🎉 🎉", '"party 🎉 tonight"'),
    (f"{'x' * 300} end", f'"{"x" * 100} end"'),
    ("filler " * 3000 + "the needle here", '"the needle here"'),
]
NOT_FOUND = [
    ("The sky is blue", '"sky blue"'),
    ("The sky is blue", '"is sky"'),
    ("The sky is blue", '"blue the"'),
    ("The sky is blue", '"sky is bl"'),
    ("The sky is blue, is the sky", '"sky is the"'),
    ("so so it is so", '"so so so"'),
    ("so it is", '"so so"'),
    ("snake_case_name", '"snake name"'),
    ("東京 sky blue", '"東京 blue"'),
    ("sky 東京 blue", '"sky blue"'),
]
CASES = [*((*case, True) for case in FOUND), *((*case, False) for case in NOT_FOUND)]


@pytest.fixture
def newer(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (postgres, sqlite):
        monkeypatch.setattr(module, "NEWEST", 1)
        monkeypatch.setattr(module, "FURTHER", 1, raising=False)
    keep_turn(user, "", "newest")


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize(("text", "phrase", "is_found"), CASES)
def test_a_phrase_is_found(user: User, text: str, phrase: str, is_found: bool) -> None:
    index_behind_newer(user, text)
    assert len(find(user, phrase)) == is_found


@pytest.mark.usefixtures("newer")
def test_phrases_are_found_in_what_an_older_version_indexed(user: User) -> None:
    index_behind_newer(user, *(text for text, _ in FOUND))
    found = [sorted(find(user, phrase)) for _, phrase, _ in CASES]
    remove_pairs()
    assert [sorted(find(user, phrase)) for _, phrase, _ in CASES] == found
    index_all()
    assert [sorted(find(user, phrase)) for _, phrase, _ in CASES] == found


def index_behind_newer(user: User, *texts: str) -> None:
    """Index texts, and then one that is newer."""
    for text in texts:
        keep_turn(user, "", text)
    index_all()
    keep_turn(user, "", "newer")
    index_all()


def remove_pairs() -> None:
    """Make all entries as a version before the pairs wrote them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE chat_searchentry SET pairs = NULL")


def read_pairs() -> dict[int, list[int]]:
    """Return the numbers of the pairs of each entry."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, pairs FROM chat_searchentry")
        return dict(cursor.fetchall())


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_sweep_adds_the_pairs_that_an_older_version_did_not_write(user: User) -> None:
    for text, _ in FOUND:
        if "filler" not in text:  # of a word's places the index has 250, which are what a phrase is found by
            keep_turn(user, "", text)
    index_all()
    written = read_pairs()
    remove_pairs()
    assert index_some(3) == 3
    assert sum(pairs is not None for pairs in read_pairs().values()) == 3
    while index_some(3):
        pass
    assert read_pairs() == written


@pytest.mark.postgresql
@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize(("query", "is_asked"), [('"sky is"', True), ("sky is", False), ("sky", False)])
def test_the_index_is_asked_for_the_pairs_of_a_phrase(user: User, query: str, is_asked: bool) -> None:
    index_behind_newer(user, "The sky is blue")
    statements: list[str] = []
    with hear_statements(statements.append):
        assert find(user, query) == ["The sky is blue"]
    assert any("pairs @>" in statement for statement in statements) == is_asked


WORDS = st.sampled_from(["a", "b", "sky", "so"])


@pytest.mark.usefixtures("newer")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=5), st.lists(WORDS, min_size=2, max_size=4)
)
def test_any_phrase_of_few_words_is_found(user: User, texts: list[list[str]], phrase: list[str]) -> None:
    sentences = [", ".join(words) for words in texts]
    index_behind_newer(user, *sentences)
    wanted = [one for one in sentences if re.search(rf"\b{', '.join(phrase)}\b", one)]
    assert sorted(find(user, f'"{" ".join(phrase)}"')) == sorted(wanted)
    Conversation.objects.all().delete()
