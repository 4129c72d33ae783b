"""Words and phrases are found in any script, whether the index has the text yet or not."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.models import Conversation, User
from chat.search.hits import Cursor, Filters, search
from chat.search.queries import read_query
from tests.support.searching import find, index_all, keep_turn

FOUND = [
    ("The sky is blue", "sky"),
    ("The sky is blue", "BLUE sky"),
    ("The sky is blue", "bl"),
    ("The sky is blue", "blu"),
    ("The sky is blue", '"sky is blue"'),
    ("The sky,\nis blue", '"sky is" blue'),
    ("The sky is blue", "“sky is” bl"),
    ("Café crème à Orléans", "cafe creme orleans"),
    ("Cafe\u0301 cre\u0300me", "café"),
    ("cafe creme", "CAFÉ CRÈME"),
    ("Die Straße nach Łódź", "strasse lodz"),
    ("Übergrößenträger", "ubergros"),
    ("ЖИЗНЬ прекрасна, ёлка", "жизнь елка"),
    ("ΣΊΣΥΦΟΣ", "σισυφος"),
    ("İstanbul \u0131l\u0131k", "istanbul ilik"),
    ("שָׁלוֹם עולם", "שלום"),
    ("السَّلامُ عليكم", "السلام"),
    ("हिन्दी में लिखा", "हिन्दी"),
    ("東京都に住んでいます", "京都に"),
    ("東京都に住んでいます", "都"),
    ("東京都に住んでいます", "す"),
    ("東京 大阪", '"東京 大阪"'),
    ("AI時代の東京", "ai 東京"),
    ("我们在学习编程", "学习"),
    ("ｶﾀｶﾅ \uff21\uff22\uff23", "カタカナ abc"),
    ("하늘을 보다", "하늘"),
    ("ภาษาไทยง่าย", "ไทย"),
    ("ភាសាខ្មែរ", "ខ្មែរ"),
    ("Party 🎉 tonight", "🎉"),
    ("snake_case and kebab-case", "snake case keb"),
    ("C++ is not C#", "c++"),
    ("version 3.11.7", "3.11"),
    (f"{'x' * 300} end", "x" * 100),
    ("a" * 70_000 + " " + "lorem ipsum " * 9000 + "needle", "needle"),
]
NOT_FOUND = [
    ("The sky is blue", "ky"),
    ("The sky is blue", "sk blue"),
    ("The sky is blue", "bl "),
    ("The sky is blue", '"blue sky"'),
    ("The sky is blue", '"sky is bl"'),
    ("The sky is blue", "sky green"),
    ("東京 京都", "東京都"),
    ("東京 大阪", '"大阪 東京"'),
    ("AI時代", "a "),
    ("हिन्दी", "हि "),
    ("sky", "1·sky"),
    ("plain", "sky OR plain"),
]


@pytest.mark.parametrize("is_indexed", [True, False], ids=["indexed", "not yet"])
@pytest.mark.parametrize(("text", "query"), FOUND)
def test_a_text_is_found(user: User, text: str, query: str, is_indexed: bool) -> None:
    keep_turn(user, "", "Question", text)
    keep_turn(user, "", "Other", "Nothing of it")
    if is_indexed:
        index_all()
    assert len(find(user, query)) == 1


@pytest.mark.parametrize("is_indexed", [True, False], ids=["indexed", "not yet"])
@pytest.mark.parametrize(("text", "query"), NOT_FOUND)
def test_a_text_is_not_found(user: User, text: str, query: str, is_indexed: bool) -> None:
    keep_turn(user, "", "Question", text)
    if is_indexed:
        index_all()
    assert find(user, query) == []


@pytest.fixture
def several(user: User) -> list[Conversation]:
    made = [keep_turn(user, "Sky and 東京", "Why is the sky blue?", "Because of Rayleigh, 東京 “said”. " * 3)]
    index_all()
    return [*made, keep_turn(user, "AND OR NOT", 'NEAR("sky" blue, 3)', "words:* ^ {a b} | & ! <-> \\ ' \" %s %% _")]


OPERATORS = "\" ' AND OR NOT NEAR( ) * ^ : words: { } - + & | ! <-> \\ % _ \x00 \ud800 \udfff \u00b7 \U000e0001"
SIGNS = st.sampled_from([*OPERATORS.split(" "), "sky", "東京", "東", "é", "\u0301", "🎉", "1", " ", "\n", "ß" * 99])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(SIGNS, max_size=30).map("".join), st.text(max_size=300)), st.booleans())
def test_no_query_fails(user: User, several: list[Conversation], text: str, is_padded: bool) -> None:
    find(user, text * (10_000 // max(1, len(text))) if is_padded else text)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(SIGNS, max_size=12).map(" ".join), st.text(max_size=60)))
def test_any_word_of_a_text_is_found_and_indexing_changes_nothing(user: User, text: str) -> None:
    stored = text.replace("\x00", "").encode("utf-8", "ignore").decode()
    keep_turn(user, "", stored or "-")
    words = stored.split()
    queries = [f"{word} " for word in words if read_query(word)][:3]
    before = [bool(find(user, query)) for query in queries]
    index_all()
    assert before == [True] * len(queries)
    assert [bool(find(user, query)) for query in queries] == before
    Conversation.objects.all().delete()


def test_every_hit_is_on_one_page(user: User) -> None:
    for number in range(130):
        keep_turn(user, "", f"needle {number}")
    index_all()
    for number in range(130, 135):
        keep_turn(user, "", f"needle {number}")
    query = read_query("needle")
    assert query is not None
    shown: list[str] = []
    cursor: Cursor | None = Cursor()
    while cursor is not None:
        found = search(user.pk, query, Filters(), Cursor.read(str(cursor)))
        shown += [hit.excerpt.text for hit in found.hits]
        cursor = found.next_cursor
    assert sorted(shown) == sorted(f"needle {number}" for number in range(135))


def test_titles_and_texts_that_say_it_together_come_first(user: User) -> None:
    keep_turn(user, "", "a rare bird, and far behind it " + "filler " * 20 + "a stone")
    keep_turn(user, "Rare stone", "nothing")
    keep_turn(user, "", "a rare stone")
    index_all()
    assert [text[:10].strip() for text in find(user, "rare stone")] == ["Rare stone", "a rare sto", "a rare bir"]


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["ra", "rain", "sky ra", '"the sky" r'])
def test_more_than_a_window_of_a_short_beginning_is_found_each_once(user: User, query: str) -> None:
    """Many matches are looked for in another way than a few, which the others of this file are."""
    for number in range(130):
        keep_turn(user, "", "The sky had a rainbow" if number % 10 else "A ransky, thera rain-sky")
    index_all()
    wanted = read_query(query)
    cursor: Cursor | None = Cursor()
    found: list[UUID] = []
    assert wanted is not None
    while cursor is not None:
        page = search(user.pk, wanted, Filters(), cursor)
        found += [hit.row.id for hit in page.hits]
        cursor = page.next_cursor
    expected = 117 if "the" in query else 130
    assert (len(found), len(set(found))) == (expected, expected)
