"""A budget's thresholds are told of once a window: to its users, by mail, and by a signed webhook; none is lost."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import meters
from chat.accounting.alerts import find_alerts
from chat.accounting.budgets import make_terms
from chat.accounting.outbox import deliver
from chat.accounting.quotas import BudgetError, admit, note_refusal, open_meters
from chat.core.events import Usage
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import make_interruption
from chat.models import Alert, Budget, Delivery, ProviderCall, User

SECRET = "whsec-for-tests"


class Receiver:
    """A webhook's receiver, which answers with these statuses in turn, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = [*statuses]
        self.got: list[tuple[dict[str, str], bytes]] = []


@contextmanager
def serve_receiver(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?from=chat"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    found = Receiver(204)
    with serve_receiver(found) as url:
        settings.CHAT_ALERT_WEBHOOK, settings.CHAT_ALERT_SECRET, settings.CHAT_ALERT_PRIVATE = url, SECRET, True
        yield found


@pytest.fixture
def budget(user: User) -> Budget:
    return Budget.objects.create(name="Ada", scope="user", user=user, tokens=10_000)


def use(user: User, tokens: int) -> None:
    call = admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    settle_call(CallResult(call, Usage(tokens, 0), None, 1), make_interruption("timeout"))


def list_thresholds() -> list[int]:
    return sorted(Alert.objects.values_list("threshold", flat=True))


def test_an_alert_is_sent_once_for_each_threshold(user: User, budget: Budget) -> None:
    told = []
    for tokens in (4_999, 1, 1, 2_998, 1, 500):
        use(user, tokens)
        told.append(list_thresholds())
    assert told == [[], [50], [50], [50], [50, 80], [50, 80]]
    use(user, 1_500)
    assert list_thresholds() == [50, 80, 100]
    assert find_alerts(user)[0].sentence.startswith("The budget Ada (10,000 tokens a month) is used up. It resets")


def test_one_call_may_reach_several_thresholds(user: User, budget: Budget) -> None:
    use(user, 9_000)
    assert list_thresholds() == [50, 80]


def test_a_budget_that_refuses_a_call_alerts_as_used_up(user: User, budget: Budget) -> None:
    """What is left may be too little for any question: 100 % would never come."""
    use(user, 9_500)
    for _ in range(2):
        with pytest.raises(BudgetError):
            admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    assert list_thresholds() == [50, 80, 100]


def test_a_question_that_exceeds_the_whole_budget_does_not_use_it_up(user: User, budget: Budget) -> None:
    use(user, 4_000)
    with pytest.raises(BudgetError, match="Ask something shorter") as refusal:
        admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=10_001))
    note_refusal(refusal.value)
    assert list_thresholds() == []


def test_a_budget_that_answers_under_way_hold_is_not_used_up(user: User, budget: Budget) -> None:
    for _ in range(10_000 // 1_025):
        admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    with pytest.raises(BudgetError, match="Wait for one of them"):
        admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    assert list_thresholds() == []
    ProviderCall.objects.all().delete()
    meters.recount()
    use(user, 10_000)
    assert list_thresholds() == [50, 80, 100]


@pytest.mark.parametrize("change", [{"tokens": 100_000}, {"is_hard": False}, {"is_active": False}])
def test_a_budget_that_was_changed_a_moment_ago_is_not_used_up(
    user: User, budget: Budget, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process knows the earlier terms for some seconds, and still refuses by them."""
    use(user, 9_500)
    known = make_terms(budget)
    Budget.objects.update(**change)
    open_meters(Budget.objects.get())
    told = list_thresholds()
    monkeypatch.setattr("chat.accounting.quotas.find_budgets", lambda user, model: [known])
    with pytest.raises(BudgetError):
        admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=1))
    assert list_thresholds() == told


def test_a_budget_that_is_switched_off_shows_no_alert(user: User, budget: Budget) -> None:
    use(user, 10_000)
    Budget.objects.update(is_active=False)
    assert not find_alerts(user).exists()


def test_a_soft_budget_warns(user: User, budget: Budget) -> None:
    Budget.objects.update(is_hard=False)
    use(user, 20_000)
    assert list_thresholds() == [50, 80, 100]
    assert "questions are still answered" in find_alerts(user)[0].sentence


def test_an_alert_is_rolled_back_with_the_call_that_caused_it(
    user: User, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert and the figures that it tells of are kept together, or neither is."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("chat.generation.store.transaction.on_commit", fail)
        with pytest.raises(RuntimeError):
            use(user, 6_000)
    assert list_thresholds() == []


def test_users_of_a_budget_see_its_alert_until_they_dismiss_it(user: User, budget: Budget) -> None:
    use(user, 6_000)
    client, other = Client(), Client()
    client.force_login(user)
    other.force_login(User.objects.create_user("grace"))
    words = "50 % of the budget Ada (10,000 tokens a month) is used: 4,000 tokens is left."
    assert words in client.get("/").content.decode()
    assert "budget Ada" not in other.get("/").content.decode()
    alert = Alert.objects.get()
    assert other.post(f"/alerts/{alert.pk}/dismiss/").status_code == 404
    client.post(f"/alerts/{alert.pk}/dismiss/")
    assert words not in client.get("/").content.decode()


def test_a_mail_goes_out_once(user: User, budget: Budget, settings: Settings) -> None:
    settings.CHAT_ALERT_MAIL, settings.CHAT_MAIL_FROM = ["root@example.org"], "chat@example.org"
    use(user, 6_000)
    assert [deliver(), deliver()] == [1, 0]
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == (["root@example.org"], "[Chatsite] 50 % of Ada")
    assert "4,000 tokens is left" in sent.body
    assert sent.extra_headers["Message-ID"] == f"<{Delivery.objects.get().pk}@example.org>"


def test_a_webhook_is_signed_and_has_an_id(user: User, budget: Budget, receiver: Receiver) -> None:
    use(user, 6_000)
    assert [deliver(), deliver()] == [1, 0]
    [(headers, body)] = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    told = json.loads(body)
    assert (told["id"], told["data"]["budget"], told["data"]["threshold"]) == (headers["webhook-id"], "Ada", 50)


def make_due_again() -> None:
    Delivery.objects.filter(state="waiting").update(due_at=timezone.now())


@pytest.mark.parametrize("status", [301, 307, 404, 500])
def test_an_alert_that_was_not_received_is_sent_again_with_the_same_id(
    user: User, budget: Budget, receiver: Receiver, status: int
) -> None:
    """A redirect is no receipt, and is not followed."""
    receiver.statuses = [status, 200]
    use(user, 6_000)
    assert deliver() == 0
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.tries, waiting.error) == (
        "waiting",
        1,
        f"UndeliverableError: the receiver answered {status}",
    )
    assert waiting.due_at > timezone.now() + timedelta(seconds=100)
    make_due_again()
    assert deliver() == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 2


def test_a_receiver_that_never_accepts_is_given_up_until_an_admin_tries_again(
    user: User, budget: Budget, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    use(user, 6_000)
    for _ in range(20):
        deliver()
        make_due_again()
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.tries, len(receiver.got)) == ("given up", 14, 14)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    client.post("/admin/chat/delivery/", {"action": "try_again", "_selected_action": [waiting.pk]})
    receiver.statuses = [200]
    assert deliver() == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "0.0.0.0"])
def test_a_webhook_to_a_private_address_is_refused_unless_allowed(
    user: User, budget: Budget, settings: Settings, host: str
) -> None:
    settings.CHAT_ALERT_WEBHOOK, settings.CHAT_ALERT_SECRET = f"http://{host}:9/hook", SECRET
    use(user, 6_000)
    assert deliver() == 0
    assert "private" in Delivery.objects.get().error


def test_a_receiver_whose_name_cannot_be_looked_up_holds_up_nothing_else(
    user: User, budget: Budget, settings: Settings
) -> None:
    settings.CHAT_ALERT_MAIL, settings.CHAT_MAIL_FROM = ["boss@example.org"], "chat@example.org"
    settings.CHAT_ALERT_WEBHOOK = f"https://{'a' * 70}.example/hook"  # a label has at most 63 letters
    use(user, 6_000)
    assert deliver() == 1
    assert len(mail.outbox) == 1
    failed = Delivery.objects.get(channel="webhook")
    assert (failed.state, failed.tries) == ("waiting", 1)
    assert "label" in failed.error


def test_the_name_of_a_budget_may_have_a_line_break(user: User, budget: Budget, settings: Settings) -> None:
    settings.CHAT_ALERT_MAIL, settings.CHAT_MAIL_FROM = ["boss@example.org"], "chat@example.org"
    Budget.objects.update(name="All\nof us")
    use(user, 6_000)
    assert deliver() == 1
    assert mail.outbox[0].subject == "[Chatsite] 50 % of All of us"


def test_simultaneous_senders_send_an_alert_once(user: User, budget: Budget, receiver: Receiver) -> None:
    use(user, 9_000)

    def send() -> int:
        try:
            return deliver()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        sent = sum(threads.map(lambda _: send(), range(6)))
    assert (sent, len(receiver.got)) == (2, 2)


def test_a_sender_that_died_is_taken_over_with_the_same_id(
    user: User, budget: Budget, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent, and the process died before it could note that."""
    use(user, 6_000)

    class KilledError(BaseException):
        pass

    respond = HTTPConnection.getresponse

    def die(connection: HTTPConnection) -> None:
        respond(connection).close()
        raise KilledError

    with monkeypatch.context() as killed:
        killed.setattr(HTTPConnection, "getresponse", die)
        with pytest.raises(KilledError):
            deliver()
    assert deliver() == 0  # it is claimed still
    make_due_again()
    assert deliver() == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
