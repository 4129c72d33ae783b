"""The staff see what readers thought: by model and prompt, and what they wrote only where they have agreed."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.conversations.ratings import mark_site_prompt
from chat.models import Conversation, Message, Rating, Reading, User
from chat.staff import ratings

SECRET = "=A comment that nobody may read"


def make_rating(value: str, *, model: str = "openai:gpt-test", days_ago: int = 0, **fields: Any) -> Rating:
    user = User.objects.create_user(f"reader{User.objects.count()}")
    conversation = Conversation.objects.create(user=user)
    question = Message.objects.create(conversation=conversation, role="user", text="The question")
    answer = Message.objects.create(
        conversation=conversation, parent=question, role="assistant", status="complete", text="The answer", model=model
    )
    rating = Rating.objects.create(answer=answer, user=user, value=value, model=model, **fields)
    Rating.objects.filter(pk=rating.pk).update(created_at=timezone.now() - timedelta(days=days_ago))
    return rating


def log_in(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def clerk(db: None) -> Client:
    return log_in("clerk", "view_rating")


@pytest.fixture
def reader(db: None) -> Client:
    return log_in("reader", "view_rating", "read_conversations")


@async_to_sync
async def list_chunks(response: Any) -> list[str]:
    return [chunk.decode() async for chunk in response]


def read_rows(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO("".join(list_chunks(response)), newline="")))


def test_ratings_are_summed_by_model_and_by_prompt(clerk: Client, settings: Settings) -> None:
    settings.CHAT_SYSTEM_PROMPT = "Be brief."
    for value, model, prompt in (
        ("up", "a:one", mark_site_prompt()),
        ("up", "a:one", mark_site_prompt()),
        ("down", "a:one", "own"),
        ("down", "b:two", ""),
    ):
        make_rating(value, model=model, prompt=prompt)
    context = clerk.get("/staff/ratings/").context
    assert [(line.name, line.up, line.down) for line in context["models"]] == [("a:one", 2, 1), ("b:two", 0, 1)]
    assert {line.name.rpartition(" ")[2]: line.total for line in context["prompts"]} == {
        "(now)": 2,
        "wrote": 1,
        "prompt": 1,
    }


def test_the_days_are_chosen(clerk: Client) -> None:
    make_rating("up")
    make_rating("down", days_ago=40)
    assert len(clerk.get("/staff/ratings/").context["page"].ratings) == 1
    start = (timezone.localdate() - timedelta(days=41)).isoformat()
    assert len(clerk.get(f"/staff/ratings/?start={start}").context["page"].ratings) == 2
    end = (timezone.localdate() - timedelta(days=39)).isoformat()
    [only] = clerk.get(f"/staff/ratings/?start={start}&end={end}").context["page"].ratings
    assert only.value == "down"
    assert clerk.get("/staff/ratings/?start=never").status_code == 400


@pytest.mark.parametrize(("start", "end", "count"), [("0001-01-01", "9999-12-31", 1), ("9999-12-31", "9999-12-31", 0)])
def test_days_at_the_ends_of_the_calendar_are_no_fault(clerk: Client, start: str, end: str, count: int) -> None:
    make_rating("up")
    page = clerk.get("/staff/ratings/", {"start": start, "end": end})
    assert (page.status_code, len(page.context["page"].ratings)) == (200, count)
    assert len(read_rows(clerk.get("/staff/ratings.csv", {"start": start, "end": end}))) == count


def test_pages_follow_one_another(clerk: Client) -> None:
    made = {make_rating("up").pk for _ in range(60)}
    first = clerk.get("/staff/ratings/?value=up")
    second = clerk.get(f"/staff/ratings/?{first.context['next']}")
    shown = [rating.pk for page in (first, second) for rating in page.context["page"].ratings]
    assert len(shown) == 60
    assert set(shown) == made


def test_no_list_shows_what_was_written(reader: Client) -> None:
    make_rating("down", comment="Readable words", may_be_read=True)
    page = reader.get("/staff/ratings/").content.decode()
    assert "Readable words" not in page
    assert "with a comment" in page
    assert not Reading.objects.exists()


def test_a_comment_is_read_with_consent_and_that_is_recorded(reader: Client) -> None:
    rating = make_rating("down", comment="Readable words", may_be_read=True)
    page = reader.post(f"/staff/ratings/{rating.pk}/read/").content.decode()
    for text in ("Readable words", "The question", "The answer"):
        assert text in page
    readings = Reading.objects.values_list("reader_name", "message_key", "owner", "place")
    messages = {rating.answer_id, rating.answer.parent_id}
    assert set(readings) == {("reader", key, rating.user_id, "staff") for key in messages}


def test_without_consent_a_comment_is_as_one_that_does_not_exist(reader: Client) -> None:
    rating = make_rating("down", comment=SECRET)
    refused = reader.post(f"/staff/ratings/{rating.pk}/read/")
    assert (refused.status_code, refused.content) == (404, reader.post("/staff/ratings/999999/read/").content)
    assert not Reading.objects.exists()
    assert "with a comment" not in reader.get("/staff/ratings/").content.decode()


def test_a_download_has_comments_only_for_readers_and_only_with_consent(clerk: Client, reader: Client) -> None:
    said = make_rating("up", comment="=Readable words", may_be_read=True)
    make_rating("down", comment=SECRET)
    plain = read_rows(clerk.get("/staff/ratings.csv"))
    assert [(row["value"], row["comment"]) for row in plain] == [("down", ""), ("up", "")]
    assert clerk.post("/staff/ratings/comments.csv").status_code == 404
    assert not Reading.objects.exists()
    whole = read_rows(reader.post("/staff/ratings/comments.csv"))
    assert [(row["value"], row["comment"]) for row in whole] == [("down", ""), ("up", "'=Readable words")]
    assert [reading.message_key for reading in Reading.objects.all()] == [said.answer_id]


def test_a_download_comes_in_parts_and_readings_are_recorded_as_far_as_it_is_read(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand ratings would be many megabytes of memory for every download."""
    monkeypatch.setattr(ratings, "ROWS_A_CHUNK", 3)
    said = [make_rating("up", comment="Readable words", may_be_read=True) for _ in range(8)]
    response = reader.post("/staff/ratings/comments.csv")
    assert not Reading.objects.exists()
    chunks = list_chunks(response)
    assert [chunk.count("\r\n") for chunk in chunks] == [1, 3, 3, 2]
    rows = csv.DictReader(StringIO("".join(chunks), newline=""))
    assert [row["answer"] for row in rows] == [str(each.answer_id) for each in reversed(said)]
    assert Reading.objects.count() == 8


@pytest.mark.parametrize("permissions", [(), ("retry_answer",), ("read_conversations",)])
def test_nobody_else_has_the_page(db: None, permissions: tuple[str, ...]) -> None:
    rating = make_rating("down", comment="Readable words", may_be_read=True)
    stranger = log_in("stranger", *permissions)
    assert stranger.get("/staff/ratings/").status_code == 404
    assert stranger.get("/staff/ratings.csv").status_code == 404
    assert stranger.post("/staff/ratings/comments.csv").status_code == 404
    assert stranger.post(f"/staff/ratings/{rating.pk}/read/").status_code == 404


def test_a_clerk_who_may_not_read_conversations_reads_no_comment(clerk: Client) -> None:
    rating = make_rating("down", comment="Readable words", may_be_read=True)
    assert clerk.post(f"/staff/ratings/{rating.pk}/read/").status_code == 404


def test_a_rating_is_gone_with_its_reader(db: None) -> None:
    rating = make_rating("up")
    rating.user.delete()
    assert not Rating.objects.exists()
