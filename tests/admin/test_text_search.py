"""The admin's lists of messages and conversations are searched by names, and by words for those who may read."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.db.models import F
from django.test import Client

from chat.admin import large_lists, text_search
from chat.admin.site import ConversationAdmin, MessageAdmin
from chat.models import Conversation, Message, User
from chat.search import everywhere
from tests.support.searching import index_all, keep_turn

TURNS = [
    ("ada", "Colours", "Why is the sky blue?", "Because of Rayleigh scattering."),
    ("ada", "東京の天気", "東京都に住んでいます", "Café crème, 100 %"),
    ("grace", "Ships", "What floats?", "A skyscraper does not, ada-lang does."),
    ("grace", "Notes", "blue is the colour", "!?"),
    ("lovelace", "Nothing", "rain", "snow"),
]


@pytest.fixture
def turns(db: None) -> list[Conversation]:
    users: dict[str, User] = {}
    made = []
    for name, *texts in TURNS:
        if name not in users:
            users[name] = User.objects.create_user(name)
        made.append(keep_turn(users[name], *texts))
    return made


@pytest.fixture
def reader(turns: list[Conversation]) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


@pytest.fixture
def clerk(turns: list[Conversation]) -> Client:
    """Return a client of somebody who sees the lists and may not read."""
    user = User.objects.create_user("clerk", is_staff=True)
    for name in ("view_message", "view_conversation"):
        user.user_permissions.add(Permission.objects.get(codename=name))
    client = Client()
    client.force_login(user)
    return client


def list_found(client: Client, words: str, name: str = "conversation", **filters: str) -> list[str]:
    """Return the titles of the conversations, or the texts of the messages, in a list."""
    response = client.get(f"/admin/chat/{name}/", {"q": words, **filters})
    assert response.status_code == 200
    rows = response.context["cl"].result_list
    return sorted(row.title if name == "conversation" else row.text for row in rows)


CASES = [
    ("sky", ["Why is the sky blue?", "A skyscraper does not, ada-lang does."], ["Colours", "Ships"]),
    ("SKY blue", ["Why is the sky blue?"], ["Colours"]),
    ('"sky blue"', ["Why is the sky blue?"], ["Colours"]),
    ('"blue sky"', [], []),
    ("blue", ["Why is the sky blue?", "blue is the colour"], ["Colours", "Notes"]),
    ("ky", [], []),
    ("ships", ["What floats?", "A skyscraper does not, ada-lang does."], ["Ships"]),
    ("grace snow", [], []),
    ("lovelace", ["rain", "snow"], ["Nothing"]),
    ("京都", ["東京都に住んでいます"], ["東京の天気"]),
    ("cafe", ["Café crème, 100 %"], ["東京の天気"]),
    ("!?", ["!?"], ["Notes"]),
    ("%", ["Café crème, 100 %"], ["東京の天気"]),
    ("nothing-of-it", [], []),
]


@pytest.mark.parametrize("is_indexed", [True, False], ids=["indexed", "not yet"])
@pytest.mark.parametrize(("words", "messages", "conversations"), CASES)
def test_a_reader_finds_words(
    reader: Client, words: str, messages: list[str], conversations: list[str], is_indexed: bool
) -> None:
    if is_indexed:
        index_all()
    assert list_found(reader, words, "message") == sorted(messages)
    assert list_found(reader, words) == sorted(conversations)


def test_a_name_finds_what_is_its_users_beside_what_has_the_word(reader: Client) -> None:
    index_all()
    assert list_found(reader, "ada") == ["Colours", "Ships", "東京の天気"]
    of_ada = [text for name, _, *texts in TURNS for text in texts if name == "ada"]
    assert list_found(reader, "ada", "message") == sorted([*of_ada, "A skyscraper does not, ada-lang does."])
    assert list_found(reader, "ada sky") == ["Colours", "Ships"]


def test_without_the_permission_only_names_are_searched(clerk: Client) -> None:
    index_all()
    assert list_found(clerk, "sky") == list_found(clerk, "sky", "message") == list_found(clerk, "Ships") == []
    assert len(list_found(clerk, "ada")) == 2
    assert len(list_found(clerk, "ada", "message")) == 4


def test_a_text_that_changed_is_found_by_its_new_words_alone(reader: Client) -> None:
    index_all()
    Message.objects.filter(text="rain").update(text="hail", is_indexed=False)
    Conversation.objects.filter(title="Ships").update(title="Boats")
    assert list_found(reader, "rain", "message") == []
    assert list_found(reader, "hail", "message") == ["hail"]
    assert list_found(reader, "Ships") == []
    assert list_found(reader, "Boats") == ["Boats"]


def test_a_word_of_more_rows_than_have_pages_is_read_for(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    index_all()
    monkeypatch.setattr(text_search, "MAX_COUNTED", 1)
    monkeypatch.setattr(large_lists, "MAX_COUNTED", 1)
    for name in ("message", "conversation"):
        listed = reader.get(f"/admin/chat/{name}/", {"q": "sky"}).context["cl"]
        assert (listed.paginator.is_cut, listed.result_count) == (True, 1)
    assert list_found(reader, "sky", "message") == ["A skyscraper does not, ada-lang does.", "Why is the sky blue?"]
    assert list_found(reader, "sky scattering") == ["Colours"]
    assert list_found(reader, "rain", "message") == ["rain"]


@pytest.mark.parametrize("part", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("page", [1, 2, 3])
def test_the_pages_of_a_long_list_have_the_latest_first(
    reader: Client, monkeypatch: pytest.MonkeyPatch, part: int, page: int
) -> None:
    owner = User.objects.get(username="ada")
    for number in range(25):
        keep_turn(owner, f"needle {number}", f"needle {number}" if number % 3 else "straw")
    index_all()
    monkeypatch.setattr(text_search, "MAX_COUNTED", 15)
    monkeypatch.setattr(text_search, "_FIRST_PART", part)
    for admin_class, name in ((MessageAdmin, "message"), (ConversationAdmin, "conversation")):
        monkeypatch.setattr(admin_class, "list_per_page", 6)
        listed = reader.get(f"/admin/chat/{name}/", {"q": "needle", "p": str(page)}).context["cl"].result_list
        wanted = reader.get(
            f"/admin/chat/{name}/", {"q": "needle", "o": "-1" if name == "message" else "-3", "p": str(page)}
        )
        assert [row.pk for row in listed] == [row.pk for row in wanted.context["cl"].result_list]
        assert len(listed) == 6


@pytest.mark.parametrize("page", ["9" * 5000, "9" * 30, "0", "-1", "x", "\N{SUPERSCRIPT TWO}", ""])
def test_a_page_that_is_none_is_no_fault(reader: Client, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    index_all()
    monkeypatch.setattr(text_search, "MAX_COUNTED", 1)
    assert reader.get("/admin/chat/message/", {"q": "sky", "p": page}).status_code in {200, 302}


def test_filters_of_a_long_list_are_counted_as_ever(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    index_all()
    monkeypatch.setattr(text_search, "MAX_COUNTED", 1)
    listed = reader.get("/admin/chat/message/", {"q": "sky", "role__exact": "assistant"}).context["cl"]
    assert (listed.paginator.is_cut, listed.result_count) == (False, 1)
    assert reader.get("/admin/chat/message/", {"q": "rain"}).context["cl"].result_count == 1


def test_every_user_is_asked_for(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    index_all()
    monkeypatch.setattr(everywhere, "USERS_AT_ONCE", 1)
    assert list_found(reader, "blue") == ["Colours", "Notes"]
    assert Conversation.objects.filter(title=F("indexed_title")).count() == len(TURNS)
