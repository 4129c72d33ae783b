"""A list of more open failures than a batch takes shows the latest of them, and what is done to it is done to those."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from chat.conversations.open_failures import select_open_failures
from chat.models import Conversation, ImportedAnswer, Message, ProviderCall, User
from chat.staff import failures

MODEL = "openai:gpt-test"


@pytest.fixture
def desk(db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of the staff, for whom four failures are a batch."""
    monkeypatch.setattr(failures, "MAX_AT_ONCE", 4)
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


def write_failures(count: int, code: str, hours_ago: float, model: str = MODEL) -> list[Message]:
    """Write failed answers of one moment, each in a conversation of its own."""
    ada = User.objects.get_or_create(username="ada")[0]
    written = []
    for _ in range(count):
        conversation = Conversation.objects.create(user=ada)
        question = Message.objects.create(conversation=conversation, role="user", text="A question")
        written.append(
            Message.objects.create(
                conversation=conversation,
                parent=question,
                role="assistant",
                status="interrupted",
                error_code=code,
                model=model,
                created_at=timezone.now() - timedelta(hours=hours_ago),
            )
        )
    return written


def read_words(response: Any) -> str:
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def find_groups(response: Any) -> list[tuple[str, int]]:
    """Return the code and the number of answers of each group on the page."""
    page = response.content.decode()
    numbers = re.findall(r'class="count">\s*<strong>(\d+)', page)
    codes = re.findall(r'<h2 id="head-[^"]+">\s*<code>(\w+)', page)
    return [(code, int(number)) for code, number in zip(codes, numbers, strict=True)]


def test_each_group_has_an_id_of_its_own(desk: Client) -> None:
    models = ["openai:gpt-4.1", "openai:gpt-4-1", "openai:gpt 4.1", "openai-gpt:4.1"]
    for model in models:
        write_failures(1, "timeout", 1, model)
    ids = re.findall(r'<h2 id="([^"]+)"', desk.get("/staff/").content.decode())
    assert len(set(ids)) == len(models)
    assert not any(each.split() != [each] for each in ids)


def fill_form(response: Any, action: str, code: str) -> dict[str, str]:
    """Return the fields of a group's form as a browser would send them."""
    for form in re.findall(
        rf'<form method="post" action="{action}">(.*?)</form>', response.content.decode(), re.DOTALL
    ):
        fields = dict(re.findall(r'<input type="hidden"\s+name="(\w+)"\s+value="([^"]*)"', form))
        if fields.get("code") == code:
            return {**{name: html.unescape(value) for name, value in fields.items()}, "reason": "Known"}
    raise AssertionError(f"no form of {code}")


def test_the_latest_are_shown_and_the_page_says_so(desk: Client) -> None:
    write_failures(2, "timeout", 1)
    write_failures(3, "rate_limited", 2)
    write_failures(3, "upstream_error", 3)
    page = desk.get("/staff/")
    assert find_groups(page) == [("timeout", 2), ("rate_limited", 2)]
    assert "At least 4 open failures. These are the latest." in read_words(page)


def test_a_short_list_shows_all(desk: Client) -> None:
    write_failures(3, "timeout", 1)
    assert "3 open failures." in read_words(desk.get("/staff/"))
    assert "At least" not in read_words(desk.get("/staff/"))


def test_a_filter_finds_earlier_ones(desk: Client) -> None:
    write_failures(4, "timeout", 1)
    write_failures(2, "upstream_error", 3)
    assert find_groups(desk.get("/staff/?code=upstream_error")) == [("upstream_error", 2)]


def test_what_is_done_to_a_group_is_done_to_those_that_were_shown_and_earlier_ones_come(desk: Client) -> None:
    late = write_failures(3, "timeout", 1)
    write_failures(1, "rate_limited", 2)
    early = write_failures(2, "timeout", 3)
    page = desk.get("/staff/")
    assert find_groups(page) == [("timeout", 3), ("rate_limited", 1)]
    page = desk.post("/staff/dismiss/", fill_form(page, "/staff/dismiss/", "timeout"), follow=True)
    assert "3 answers dismissed." in read_words(page)
    assert not select_open_failures().filter(pk__in=[answer.pk for answer in late]).exists()
    assert select_open_failures().filter(pk__in=[answer.pk for answer in early]).count() == 2
    assert find_groups(page) == [("rate_limited", 1), ("timeout", 2)]


@pytest.mark.parametrize("part", ["ada", "AD", "a"])
def test_failures_are_found_by_a_part_of_a_name_however_many_users_have_it(desk: Client, part: str) -> None:
    User.objects.bulk_create(User(username=f"bella-{number}") for number in range(30))
    write_failures(2, "timeout", 1)
    assert find_groups(desk.get(f"/staff/?user={part}")) == [("timeout", 2)]
    assert find_groups(desk.get("/staff/?user=bella")) == []


def test_the_filter_offers_the_models_that_failed_here(desk: Client) -> None:
    write_failures(1, "timeout", 1, "gone:model")
    brought = write_failures(2, "timeout", 1, "foreign:model")
    ImportedAnswer.objects.bulk_create(ImportedAnswer(answer=answer) for answer in brought)
    page = desk.get("/staff/").content.decode()
    assert '<option value="gone:model">' in page
    assert '<option value="foreign:model">' not in page
    # It was gone on with here, and failed again.
    ProviderCall.objects.create(answer=brought[0], model="foreign:model", outcome="interrupted", error_code="timeout")
    assert '<option value="foreign:model">' in desk.get("/staff/").content.decode()
