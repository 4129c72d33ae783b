"""The staff see what a failed answer's provider said, where they look at the answer."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from chat.core.events import Usage
from chat.core.failures import Cause, Failure, ProviderReport
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import make_interruption
from chat.models import Message, ProviderCall, User
from tests.staff.test_staff import desk, make_failed_answer, read_words, reader

__all__ = ["desk", "reader"]

OVERLOADED = Failure(Cause.STATUS, ProviderReport(529, "overloaded_error", "Too <busy>.", "req_7"))


def fail_call(answer: Message, code: str, failure: Failure | None, model: str = "") -> None:
    call = ProviderCall.objects.create(answer=answer, user=answer.conversation.user, model=model or answer.model)
    settle_call(CallResult(call, Usage(1, 0), None, 5, failure), make_interruption(code))


def test_the_list_says_what_the_last_call_failed_of(desk: Client) -> None:
    answer = make_failed_answer(code="upstream_error")
    fail_call(answer, "timeout", None)
    fail_call(answer, "upstream_error", OVERLOADED)
    shown = read_words(desk.get("/staff/group/", {"code": "upstream_error"}))
    assert "error status HTTP 529 overloaded_error Too &lt;busy&gt;. request req_7" in shown
    assert "timeout" not in shown.partition("Failed")[2].partition("error status")[0]


def test_the_page_of_an_answer_has_every_call_that_failed(desk: Client) -> None:
    answer = make_failed_answer(code="upstream_error")
    fail_call(answer, "upstream_error", OVERLOADED, "openai:another")
    fail_call(answer, "timeout", None)
    shown = read_words(desk.post(reverse("staff-read", args=[answer.pk])))
    assert shown.index("timeout") < shown.index("error status HTTP 529")
    assert "openai:another" in shown


def test_a_list_of_fifty_answers_asks_for_their_calls_once(
    desk: Client, reader: User, django_assert_max_num_queries: object
) -> None:
    for number in range(20):
        fail_call(make_failed_answer(f"user{number}", code="upstream_error"), "upstream_error", OVERLOADED)
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        assert read_words(desk.get("/staff/group/", {"code": "upstream_error"})).count("HTTP 529") == 20
