"""The page of the search shows hits safely, and a hit opens its conversation at the message, on its branch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import pytest
from django.test import Client

from chat.models import Conversation, Message, Role, Status, User
from tests.support.searching import keep_turn


def open_first(client: Client, query: str) -> tuple[str, str]:
    """Return the page that the first hit leads to, and the name of the element in its address."""
    results = client.get("/search/", {"q": query}).content.decode()
    address = re.search(r'<li>\s*<a href="([^"]+)"', results)
    assert address is not None, results
    path, _, element = unescape(address[1]).partition("#")
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode(), element


def answer(conversation: Conversation, parent: Message | None, text: str, question: str = "And?") -> Message:
    """Add a turn to a branch, and return its answer."""
    asked = Message.objects.create(conversation=conversation, parent=parent, role=Role.USER, text=question)
    return Message.objects.create(
        conversation=conversation,
        parent=asked,
        role=Role.ASSISTANT,
        text=text,
        model="demo:one",
        status=Status.COMPLETE,
    )


def test_a_hit_on_another_branch_shows_that_branch(client: Client, user: User) -> None:
    made = keep_turn(user, "Sky", "Why is it blue?", "Rayleigh")
    first = made.leaf
    assert first is not None
    other = Message.objects.create(
        conversation=made, parent=first.parent, role=Role.ASSISTANT, text="a needle", model="m", status=Status.COMPLETE
    )
    last = answer(made, other, "the end of the other branch")
    client.force_login(user)
    page, element = open_first(client, "needle")
    assert element == f"answer-{other.pk}"
    assert f'id="{element}"' in page
    assert "the end of the other branch" in page
    made.refresh_from_db()
    assert made.leaf_id == last.pk


def test_a_hit_far_up_is_on_the_page(client: Client, user: User) -> None:
    made = keep_turn(user, "Long", "a needle?", "found")
    leaf = made.leaf
    for number in range(60):
        leaf = answer(made, leaf, f"answer {number}")
    Conversation.objects.filter(pk=made.pk).update(leaf=leaf)
    client.force_login(user)
    page, element = open_first(client, "needle")
    assert element.startswith("turn-")
    assert f'id="{element}"' in page
    assert "answer 59" in page


def test_a_message_of_another_conversation_changes_nothing(client: Client, user: User) -> None:
    mine = keep_turn(user, "Mine", "question", "answer")
    strangers = keep_turn(User.objects.create_user("grace"), "Theirs", "secret", "needle")
    client.force_login(user)
    for at in (strangers.leaf_id, "x", "\x00"):
        response = client.get(f"/c/{mine.pk}/", {"at": str(at)})
        assert response.status_code == 200
        assert "needle" not in response.content.decode()
    assert client.get(f"/c/{strangers.pk}/", {"at": str(strangers.leaf_id)}).status_code == 404


def test_what_was_written_is_text(client: Client, user: User) -> None:
    keep_turn(user, "<script>alert(1)</script> needle", "<img src=x onerror=alert(1)> needle </mark>")
    client.force_login(user)
    page = client.get("/search/", {"q": '"needle"'}).content.decode()
    assert "<mark>needle</mark>" in page
    assert not re.search(r"<(script>|img|b>)", page.partition('class="hits"')[2].partition("</ol>")[0])


def test_the_dialog_gets_results_alone_and_the_next_page_its_hits(client: Client, user: User) -> None:
    for number in range(25):
        keep_turn(user, "", f"needle {number}")
    client.force_login(user)
    first = client.get("/search/", {"q": "needle"}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in first
    assert first.count("<li>") == 20
    following = re.search(r'hx-get="([^"]+)"', first)
    assert following is not None
    rest = client.get(unescape(following[1]), headers={"HX-Request": "true"}).content.decode()
    assert (rest.count("<li>"), 'class="count"' in rest, "More results" in rest) == (5, False, False)


@pytest.mark.parametrize(
    ("zone", "day"), [("Asia/Tokyo", "2026-11-29"), ("America/New_York", "2026-11-28"), ("", "2026-11-28")]
)
def test_the_days_of_the_page_are_the_readers(client: Client, user: User, zone: str, day: str) -> None:
    keep_turn(user, "Sky", "a needle?")
    Message.objects.update(created_at=datetime(2026, 11, 28, 20, 0, tzinfo=UTC))
    client.force_login(user)
    client.cookies["timezone"] = zone
    found = client.get("/search/", {"q": "needle", "from": day, "to": day}).content.decode()
    assert f"{int(day[-2:])} Nov 2026</time>" in found
    for other in ("2026-11-27", "2026-11-28", "2026-11-29"):
        page = client.get("/search/", {"q": "needle", "from": other, "to": other}).content.decode()
        assert ("</time>" in page) is (other == day)


def test_a_bad_filter_is_said(client: Client, user: User) -> None:
    client.force_login(user)
    response = client.get("/search/", {"q": "a", "from": "yesterday"})
    assert response.status_code == 400
    assert "is a day" in response.content.decode()
