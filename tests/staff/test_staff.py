"""The staff's list: which failed answers stand open, in which groups, and what reading and dismissing leave behind."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from chat.conversations.open_failures import select_open_failures
from chat.models import Conversation, Dismissal, Message, Reading, RetryBatch, User
from chat.staff import batches, failures

MODEL = "openai:gpt-test"

# Moments of the years 0 and 10000 of UTC.
OUTSIDE_OF_UTC = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12:00")


@pytest.fixture
def reader(transactional_db: None) -> User:
    """A member of the staff who may retry and read, and is no superuser."""
    user = User.objects.create_user("reader")
    user.user_permissions.set(Permission.objects.filter(codename__in=["retry_answer", "read_conversations"]))
    return user


@pytest.fixture
def desk(reader: User) -> Client:
    client = Client()
    client.force_login(reader)
    return client


def make_failed_answer(
    name: str = "ada", *, code: str = "timeout", model: str = MODEL, ago: float = 1, text: str = ""
) -> Message:
    """Make an answer that failed so many minutes ago, in a conversation of its own."""
    user = User.objects.filter(username=name).first() or User.objects.create_user(name)
    conversation = Conversation.objects.create(user=user, title="A title")
    question = Message.objects.create(conversation=conversation, role="user", text="A question")
    return add_attempt(question, "interrupted", code, model=model, ago=ago, text=text)


def add_attempt(
    question: Message, status: str, code: str = "", *, model: str = MODEL, ago: float = 0, text: str = ""
) -> Message:
    answer = Message.objects.create(
        conversation=question.conversation,
        parent=question,
        role="assistant",
        status=status,
        error_code=code,
        model=model,
        text=text,
        position=len(text),
        lease_until=timezone.now() if status == "streaming" else None,
    )
    Message.objects.filter(pk=answer.pk).update(created_at=timezone.now() - timedelta(minutes=ago))
    answer.refresh_from_db()
    return answer


def read_words(response: Any) -> str:
    """Return the page without its tags."""
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def read_counts(response: Any) -> list[int]:
    """Return the number of each group, as the page shows them."""
    return [int(number) for number in re.findall(r'class="count">\s*<strong>(\d+)', response.content.decode())]


# What stands open


def get_question(answer: Message) -> Message:
    assert answer.parent is not None
    return answer.parent


@pytest.mark.parametrize(
    ("status", "code"), [("complete", ""), ("stopped", ""), ("streaming", ""), ("interrupted", "upstream_error")]
)
def test_a_later_attempt_takes_the_place_of_a_failed_one(db: None, status: str, code: str) -> None:
    first = make_failed_answer()
    later = add_attempt(get_question(first), status, code)
    assert list(select_open_failures()) == ([later] if status == "interrupted" else [])


def test_an_earlier_attempt_does_not_take_the_place_of_a_failed_one(db: None) -> None:
    answer = make_failed_answer()
    add_attempt(get_question(answer), "complete", ago=10)
    assert list(select_open_failures()) == [answer]


def test_a_complete_answer_is_no_failure(db: None) -> None:
    conversation = Conversation.objects.create(user=User.objects.create_user("ada"))
    question = Message.objects.create(conversation=conversation, role="user", text="Hi")
    add_attempt(question, "complete")
    add_attempt(question, "stopped")
    assert not select_open_failures().exists()


def test_an_answer_stays_when_its_conversation_goes_on(db: None) -> None:
    answer = make_failed_answer()
    follow_up = Message.objects.create(conversation=answer.conversation, parent=answer, role="user", text="And?")
    add_attempt(follow_up, "complete")
    assert list(select_open_failures()) == [answer]


# Groups


def test_an_outage_is_one_row_with_its_count_its_users_and_its_time(desk: Client) -> None:
    for number in range(30):
        make_failed_answer(f"user{number % 3}", code="upstream_error", ago=30 + number)
    make_failed_answer(code="timeout", ago=5)
    make_failed_answer(code="upstream_error", model="demo:tour", ago=90)
    groups = failures.group_failures(select_open_failures())
    assert [(group.code, group.model, group.count, group.users) for group in groups] == [
        ("timeout", MODEL, 1, 1),
        ("upstream_error", MODEL, 30, 3),
        ("upstream_error", "demo:tour", 1, 1),
    ]
    assert round((groups[1].last - groups[1].first).total_seconds() / 60) == 29
    page = desk.get("/staff/")
    assert read_counts(page) == [1, 30, 1]
    assert "30 3 users upstream_error openai:gpt-test" in read_words(page)
    assert "32 open failures." in read_words(page)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 1, 1]),
        ("code=timeout", [1]),
        ("model=demo:tour", [1]),
        ("user=ADA", [1, 1]),
        ("user=nobody", []),
        ("age=hour", [1]),
        ("age=day", [1, 1]),
        ("age=week", [1, 1, 1]),
        ("code=rate_limited&age=day", []),
        ("state=dismissed", []),
        ("state=recovered", []),
    ],
)
def test_the_list_is_filtered_by_its_address(desk: Client, query: str, found: list[int]) -> None:
    make_failed_answer("ada", code="timeout", ago=5)
    make_failed_answer("ada", code="rate_limited", ago=60 * 30)
    make_failed_answer("eve", code="upstream_error", model="demo:tour", ago=60 * 5)
    assert read_counts(desk.get(f"/staff/?{query}")) == found


@pytest.mark.parametrize("query", ["code=nonsense", "age=century", "model=none", "user=" + "x" * 200])
def test_a_filter_that_means_nothing_is_refused_and_finds_nothing(desk: Client, query: str) -> None:
    make_failed_answer()
    response = desk.get(f"/staff/?{query}")
    assert response.status_code == 400
    assert read_counts(response) == []
    assert 'role="alert"' in response.content.decode()


def test_a_code_that_will_fail_again_says_so(desk: Client) -> None:
    make_failed_answer(code="context_length")
    assert "A retry is unlikely to help" in read_words(desk.get("/staff/"))
    select_open_failures().delete()
    make_failed_answer(code="timeout")
    assert "A retry is unlikely to succeed" not in read_words(desk.get("/staff/"))


def test_an_empty_list_says_what_is_listed(desk: Client) -> None:
    assert "No open failures." in read_words(desk.get("/staff/"))


def test_the_list_asks_the_database_as_often_for_many_answers_as_for_few(
    desk: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        make_failed_answer(f"user{number}")
    with django_assert_max_num_queries(15):
        assert read_counts(desk.get("/staff/")) == [60]
    with django_assert_max_num_queries(15):
        assert desk.get(f"/staff/group/?code=timeout&model={MODEL}").status_code == 200


# Pages


def test_pages_go_on_where_the_last_one_ended_whatever_fails_meanwhile(desk: Client) -> None:
    answers = {make_failed_answer(ago=number).pk for number in range(120)}
    seen: list[str] = []
    query = f"code=timeout&model={MODEL}"
    while query:
        page = desk.get(f"/staff/group/?{query}").content.decode()
        seen += re.findall(r'id="failed-([0-9a-f-]+)"', page)
        make_failed_answer()
        link = re.search(r'href="/staff/group/\?([^"]+)"', page)
        query = link[1].replace("&amp;", "&") if link else ""
    assert len(seen) == 120
    assert {uuid.UUID(key) for key in seen} == answers


def test_answers_of_the_same_moment_are_each_on_one_page(db: None) -> None:
    answers = {make_failed_answer().pk for _ in range(70)}
    Message.objects.filter(pk__in=answers).update(created_at=timezone.now())
    first = failures.load_page(select_open_failures())
    second = failures.load_page(select_open_failures(), first.next_cursor)
    assert [len(first.answers), len(second.answers), second.next_cursor] == [50, 20, None]
    assert {answer.pk for answer in first.answers + second.answers} == answers


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "2026-01-01", "2026-01-01T00:00:00+00:00_x", "_"),
        *(f"{moment}_{uuid.UUID(int=1)}" for moment in ("2026-01-01T00:00:00", *OUTSIDE_OF_UTC)),
    ],
)
def test_a_place_that_is_none_is_not_found(desk: Client, cursor: str) -> None:
    assert desk.get("/staff/group/", {"after": cursor}).status_code == 404


@pytest.mark.parametrize("moment", OUTSIDE_OF_UTC)
@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("address", ["/staff/dismiss/", "/staff/retry/"])
def test_a_time_that_no_database_takes_is_refused(desk: Client, address: str, name: str, moment: str) -> None:
    make_failed_answer()
    response = desk.post(address, {name: moment, "reason": "An outage"}, follow=True)
    assert "Enter a valid date/time." in response.content.decode()
    assert select_open_failures().count() == 1


# Reading


def test_the_list_and_the_group_show_nothing_of_what_was_said(desk: Client) -> None:
    make_failed_answer(text="Half an ans")
    for path in ("/staff/", f"/staff/group/?code=timeout&model={MODEL}"):
        page = read_words(desk.get(path))
        assert not [said for said in ("Half an ans", "A question", "A title") if said in page]
    assert not Reading.objects.exists()


def test_each_reading_is_noted_down(desk: Client, reader: User) -> None:
    answer = make_failed_answer(text="Half <b>an ans")
    for _ in range(2):
        response = desk.post(f"/staff/answers/{answer.pk}/read/")
        assert "Half &lt;b&gt;an ans" in response.content.decode()
        assert "A question" in response.content.decode()
    assert Reading.objects.count() == 4
    reading = Reading.objects.filter(message=answer).latest("at")
    assert (reading.reader, reading.reader_name, reading.place) == (reader, "reader", "staff")
    assert (reading.message_key, reading.owner) == (answer.pk, answer.conversation.user)
    assert set(Reading.objects.values_list("message_key", flat=True)) == {answer.pk, answer.parent_id}


def test_htmx_gets_the_text_alone(desk: Client) -> None:
    answer = make_failed_answer(text="Half an ans")
    response = desk.post(f"/staff/answers/{answer.pk}/read/", headers={"hx-request": "true"})
    assert response.content.decode().strip().startswith('<div class="read">')


def test_only_failed_answers_are_read_here(desk: Client) -> None:
    answer = add_attempt(get_question(make_failed_answer()), "complete", text="All is well")
    assert desk.post(f"/staff/answers/{answer.pk}/read/").status_code == 404
    assert desk.post(f"/staff/answers/{answer.parent_id}/read/").status_code == 404
    assert not Reading.objects.exists()


# Recovered


def make_recovered_answer(name: str, code: str, status: str = "complete", **fields: Any) -> Message:
    """Make an answer that was interrupted with this code, was continued automatically, and then got this status."""
    answer = make_failed_answer(name, text="A text")
    error = "timeout" if status == "interrupted" else ""
    Message.objects.filter(pk=answer.pk).update(status=status, error_code=error, interrupted_by=code, **fields)
    return answer


def test_what_was_lost_and_continued_by_itself_is_a_list_of_its_own(desk: Client) -> None:
    make_recovered_answer("ada", "server_lost", losses=1)
    make_recovered_answer("grace", "upstream_error", breaks=2)
    make_recovered_answer("alan", "server_restart", "interrupted", losses=1)
    make_failed_answer("kurt")
    page = read_words(desk.get("/staff/?state=recovered"))
    assert "3 answers were interrupted and continued without anybody asking for it: 2 finished, 0 being written" in page
    assert "continued automatically after an interruption server_lost" in page
    assert "continued automatically after 2 interruptions upstream_error" in page
    assert "kurt" not in page
    assert "A text" not in page


def test_the_list_is_filtered_by_the_code_of_the_interruption(desk: Client) -> None:
    make_recovered_answer("ada", "server_lost", losses=1)
    make_recovered_answer("grace", "upstream_error", breaks=1)
    page = read_words(desk.get("/staff/?state=recovered&code=upstream_error"))
    assert "grace" in page
    assert "ada" not in page


def test_an_answer_that_failed_after_it_was_continued_says_so(desk: Client) -> None:
    answer = make_recovered_answer("ada", "server_lost", "interrupted", losses=1)
    told = "continued automatically after an interruption server_lost"
    assert told in read_words(desk.get("/staff/group/?code=timeout"))
    assert told in read_words(desk.post(f"/staff/answers/{answer.pk}/read/"))


# Dismissing


def test_a_dismissed_answer_leaves_the_list_and_can_be_brought_back(desk: Client, reader: User) -> None:
    answer, other = make_failed_answer(), make_failed_answer()
    response = desk.post("/staff/dismiss/", {"answer": answer.pk, "reason": "A test of ours", "back": "age=day"})
    assert response.headers["Location"] == "/staff/?age=day"
    assert list(select_open_failures()) == [other]
    dismissal = Dismissal.objects.get()
    assert (dismissal.answer, dismissal.by, dismissal.note) == (answer, reader, "A test of ours")
    page = read_words(desk.get("/staff/?state=dismissed"))
    assert "A test of ours" in page
    desk.post(f"/staff/answers/{answer.pk}/undo/")
    assert set(select_open_failures()) == {answer, other}
    dismissal.refresh_from_db()
    assert dismissal.undone_by == reader
    assert dismissal.undone_at is not None
    assert desk.post(f"/staff/answers/{answer.pk}/undo/").status_code == 404


def test_an_answer_is_dismissed_again_after_an_undo(desk: Client) -> None:
    answer = make_failed_answer()
    for _ in range(2):
        desk.post("/staff/dismiss/", {"answer": answer.pk, "reason": "Known"})
        assert not select_open_failures().exists()
        desk.post(f"/staff/answers/{answer.pk}/undo/")
    assert Dismissal.objects.count() == 2


def test_a_whole_group_is_dismissed(desk: Client) -> None:
    for _ in range(5):
        make_failed_answer(code="abandoned")
    other = make_failed_answer(code="timeout")
    response = desk.post("/staff/dismiss/", {"code": "abandoned", "model": MODEL, "reason": "They left"}, follow=True)
    assert "5 answers dismissed." in read_words(response)
    assert list(select_open_failures()) == [other]


def test_dismissing_twice_is_dismissing_once(desk: Client) -> None:
    answer = make_failed_answer()
    for _ in range(2):
        desk.post("/staff/dismiss/", {"answer": answer.pk, "reason": "Known"})
    assert Dismissal.objects.count() == 1


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_a_dismissal_needs_a_note_of_a_sentence(desk: Client, reason: str) -> None:
    make_failed_answer()
    page = desk.post("/staff/dismiss/", {"reason": reason}, follow=True)
    assert 'class="said error"' in page.content.decode()
    assert not Dismissal.objects.exists()


@pytest.mark.parametrize("field", ["code", "model", "age", "answer", "until"])
def test_a_form_whose_filter_means_nothing_changes_nothing(desk: Client, field: str) -> None:
    make_failed_answer()
    desk.post("/staff/dismiss/", {"reason": "Known", field: "nonsense"})
    assert select_open_failures().count() == 1


def test_a_form_sends_nobody_to_another_site(desk: Client) -> None:
    make_failed_answer()
    response = desk.post("/staff/dismiss/", {"reason": "Known", "back": "//evil.example/"})
    assert response.headers["Location"].startswith("/staff/?")


# Batches


def test_a_batch_that_nobody_works_on_says_so(db: None) -> None:
    batch = RetryBatch.objects.create(reason="Outage", scope="All")
    states = []
    moments: list[tuple[int | None, dict[str, Any]]] = [
        (None, {}),
        (-60, {}),
        (60, {}),
        (60, {"stopped_at": timezone.now()}),
        (None, {"stopped_at": timezone.now(), "finished_at": timezone.now()}),
        (None, {"stopped_at": None, "finished_at": timezone.now()}),
    ]
    for lease, fields in moments:
        until = timezone.now() + timedelta(seconds=lease) if lease else None
        RetryBatch.objects.filter(pk=batch.pk).update(lease_until=until, **fields)
        found = batches.load_progress(batch.pk)
        assert found is not None
        states.append(found.state)
    assert states == ["waiting", "waiting", "working", "stopping", "stopped", "finished"]


def test_a_batch_says_in_words_what_was_asked_for() -> None:
    assert str(failures.Filter()) == "All failed answers"
    assert str(failures.Filter(answer=uuid.uuid4())) == "One answer"
    wanted = failures.Filter(code="timeout", model=MODEL, user="ada", age="day")
    assert str(wanted) == "Code timeout, model openai:gpt-test, user “ada”, last 24 hours"
    wanted = failures.Filter(model="openai:Qwen/Qwen3-32B", user="Ada")
    assert str(wanted) == "Model openai:Qwen/Qwen3-32B, user “Ada”"


def test_the_way_to_the_page_is_shown_to_those_who_may_go(desk: Client, reader: User) -> None:
    assert 'href="/staff/"' in desk.get("/").content.decode()
    reader.user_permissions.clear()
    assert 'href="/staff/"' not in desk.get("/").content.decode()
