"""The lists of calls and messages count, sort and offer no more than an index gives, however many rows there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from chat.accounting import rollups
from chat.admin import large_lists
from chat.models import Conversation, Message, ProviderCall, User
from tests.support.ledger_rows import keep_given_start

CALLS = "/admin/chat/providercall/"
MESSAGES = "/admin/chat/message/"


@pytest.fixture
def admin(db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of an administrator, for whom 110 rows are too many to count."""
    monkeypatch.setattr(large_lists, "MAX_COUNTED", 110)
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


def write_calls(count: int, began: datetime = datetime(2026, 5, 4, tzinfo=UTC), **fields: Any) -> None:
    fields = {"model": "openai:gpt-test", "outcome": "complete", **fields}
    with keep_given_start():
        ProviderCall.objects.bulk_create(
            ProviderCall(started_at=began, output_tokens=number, **fields) for number in range(count)
        )


def read(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def list_dates(html: str) -> list[str]:
    """Return what stands above a list: the way back, and the dates."""
    found = re.search(r'class="toplinks">(.*?)</nav>', html)
    assert found
    return [text.strip() for text in re.findall(r">([^<>]+)<", f">{found[1]}<") if text.strip()]


def test_a_long_list_says_that_there_are_more(admin: Client) -> None:
    write_calls(111)
    html = read(admin, CALLS)
    assert "more than 110 provider calls" in html
    assert 'href="?p=2"' in html


def test_a_shorter_list_says_how_many(admin: Client) -> None:
    write_calls(110)
    html = read(admin, CALLS)
    assert "110 provider calls" in html
    assert "more than" not in html


def test_the_counts_of_each_filter_are_not_offered(admin: Client) -> None:
    write_calls(1)
    assert "Show counts" not in read(admin, CALLS)


def test_the_dates_go_from_the_first_row_to_the_last(admin: Client) -> None:
    write_calls(1, datetime(2024, 11, 20, tzinfo=UTC))
    write_calls(1, datetime(2026, 2, 3, tzinfo=UTC))
    assert list_dates(read(admin, CALLS)) == ["2024", "2025", "2026"]
    html = read(admin, f"{CALLS}?started_at__year=2024")
    assert list_dates(html) == ["&lsaquo; All dates", "November 2024", "December 2024"]
    html = read(admin, f"{CALLS}?started_at__year=2026&started_at__month=2")
    assert list_dates(html) == ["&lsaquo; 2026", "February 1", "February 2", "February 3"]
    html = read(admin, f"{CALLS}?started_at__year=2026&started_at__month=2&started_at__day=3")
    assert list_dates(html) == ["&lsaquo; February 2026", "February 3"]
    assert "1 provider call " in html


def test_a_date_keeps_the_filter(admin: Client) -> None:
    write_calls(1)
    html = read(admin, f"{CALLS}?outcome__exact=complete")
    assert "?outcome__exact=complete&amp;started_at__month=5&amp;started_at__year=2026" in html


def test_a_date_that_is_none_is_refused(admin: Client) -> None:
    write_calls(1)
    assert admin.get(f"{CALLS}?started_at__year=next").headers["Location"] == f"{CALLS}?e=1"


def find_tokens(html: str) -> list[int]:
    return [int(tokens) for tokens in re.findall(r'class="field-show_tokens">(?:about )?0 / (\d+)<', html)]


def test_a_short_list_is_sorted_by_any_column(admin: Client) -> None:
    write_calls(5)
    assert find_tokens(read(admin, f"{CALLS}?o=5")) == [0, 1, 2, 3, 4]
    assert find_tokens(read(admin, f"{CALLS}?o=-5")) == [4, 3, 2, 1, 0]


def test_a_long_list_is_sorted_by_time_alone_and_says_so(admin: Client) -> None:
    write_calls(111)
    html = read(admin, f"{CALLS}?o=5")
    assert find_tokens(html)[:3] == [110, 109, 108]
    assert "too many to sort" in html
    assert "too many to sort" not in read(admin, f"{CALLS}?o=0")


def test_a_filter_that_leaves_few_lets_them_be_sorted(admin: Client) -> None:
    write_calls(111)
    write_calls(3, model="demo:tour")
    html = read(admin, f"{CALLS}?o=5&model=demo:tour")
    assert find_tokens(html) == [0, 1, 2]
    assert "too many to sort" not in html


def test_calls_are_found_by_their_error_and_their_model(admin: Client) -> None:
    write_calls(2, outcome="interrupted", error_code="timeout")
    write_calls(3, outcome="interrupted", error_code="rate_limited", model="demo:tour")
    assert "2 provider calls" in read(admin, f"{CALLS}?error_code=timeout")
    assert "3 provider calls" in read(admin, f"{CALLS}?model=demo:tour")


def test_messages_are_listed_from_the_last_one_and_found_by_their_error_and_model(admin: Client) -> None:
    ada = User.objects.create_user("ada")
    for number, code in enumerate(("timeout", "rate_limited")):
        question = Message.objects.create(
            conversation=Conversation.objects.create(user=ada),
            role="user",
            created_at=datetime(2026, 1, 1 + number, tzinfo=UTC),
        )
        Message.objects.create(
            conversation=question.conversation,
            parent=question,
            role="assistant",
            status="interrupted",
            error_code=code,
            model=f"demo:{code}",
            created_at=question.created_at,
        )
    assert re.findall(r'field-error_code">(\w+)<', read(admin, MESSAGES)) == ["rate_limited", "timeout"]
    assert "1 message " in read(admin, f"{MESSAGES}?error_code=timeout")
    assert "1 message " in read(admin, f"{MESSAGES}?model=demo:timeout")
    assert list_dates(read(admin, MESSAGES)) == ["January 2026"]


@pytest.mark.parametrize(
    ("words", "calls"),
    [("ad", 3), ("GPT", 4), ("ada gpt", 1), ("root", 1), ("req_7", 1), ("req_", 0), ("nobody", 0), ("user-", 5)],
)
def test_calls_are_found_by_parts_of_names_and_by_a_whole_request_id(admin: Client, words: str, calls: int) -> None:
    ada, root = User.objects.create_user("ada"), User.objects.get(username="root")
    write_calls(1, user=ada)
    write_calls(2, user=ada, model="demo:tour")
    write_calls(1, requested_by=root)
    write_calls(2, outcome="interrupted", error_code="timeout", request_id="req_8")
    write_calls(1, outcome="interrupted", error_code="timeout", request_id="req_7", model="demo:tour")
    for user in User.objects.bulk_create(User(username=f"user-{number}") for number in range(30)):
        if user.username[-1] == "3" or user.username in ("user-1", "user-2"):
            write_calls(1, user=user, model="demo:tour")
    rollups.catch_up()
    assert f" {calls} provider call" in read(admin, f"{CALLS}?q={words}")


def test_the_script_of_a_list_has_its_counter_and_a_cut_list_offers_no_more_than_its_page(admin: Client) -> None:
    """Without the counter Django's script fails on the page; all of a cut list is more than it says."""
    conversation = Conversation.objects.create(user=User.objects.get())
    messages = [Message(conversation=conversation, role="user", text="?") for _ in range(111)]
    Message.objects.bulk_create(messages)
    html = read(admin, MESSAGES)
    assert 'class="action-counter"' in html
    assert "across all pages" not in html
    messages[0].delete()
    assert "across all pages" in read(admin, MESSAGES)
