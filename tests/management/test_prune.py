"""`prune` deletes what is old, after it was asked twice, and leaves every sum as it was."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count
from django.test import Client
from django.utils import timezone

from chat.accounting import rollups
from chat.accounting.periods import find_window
from chat.management.commands import prune
from chat.models import (
    Conversation,
    ImportedConversation,
    Message,
    Outcome,
    Period,
    ProviderCall,
    Pruning,
    UsageDay,
    User,
)
from tests.support import ledger_rows
from tests.support.usage_ledger import add_up_in_sql, load_page, read_cards


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("prune", *arguments, stdout=out)
    return out.getvalue()


def make_conversation(user: User, days_ago: float, status: str = "complete") -> Conversation:
    """Make a conversation in which something was last said so many days ago."""
    made = Conversation.objects.create(user=user, title=f"{days_ago} days")
    question = Message.objects.create(conversation=made, role="user", text="Why?")
    moment = timezone.now() - timedelta(days=days_ago)
    answer = Message.objects.create(
        conversation=made, parent=question, role="assistant", status=status, lease_until=moment
    )
    ProviderCall.objects.create(user=user, answer=answer, model="demo:tour", outcome="complete")
    made.leaf = answer
    made.save()
    Conversation.objects.filter(pk=made.pk).update(updated_at=moment)
    return made


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_dry_run_deletes_nothing_and_says_what_would_go(ada: User) -> None:
    for days in (5, 29, 31, 400):
        make_conversation(ada, days)
    ledger_rows.write(ledger_rows.make_ledger_rows(300, [ada], 100))
    printed = run("--conversations", "30", "--ledger", "50")
    assert "Would delete 2 conversations with 4 messages" in printed
    assert re.search(r"Would delete 1[45]\d ledger rows before \d{4}-\d\d-\d\d", printed)
    assert "Nothing was deleted" in printed
    assert (Conversation.objects.count(), ProviderCall.objects.count()) == (4, 304)
    assert not Pruning.objects.exists()


def test_old_conversations_go_and_their_calls_stay(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "CONVERSATIONS_A_BATCH", 2)
    kept = [make_conversation(ada, days) for days in (0, 29.9)]
    for days in (30.1, 50, 90, 400, 401):
        make_conversation(ada, days)
    printed = run("--conversations", "30", "--yes")
    assert set(Conversation.objects.all()) == set(kept)
    assert Message.objects.count() == 4
    assert ProviderCall.objects.count() == 7
    assert [line.strip() for line in printed.splitlines()[1:]] == ["2 of 5", "4 of 5", "5 of 5"]


def test_an_imported_conversation_counts_from_its_import(ada: User) -> None:
    """Otherwise what a user brings today would be gone tonight."""
    for imported_days_ago in (0, 29, 31, None):
        brought = make_conversation(ada, 400)
        row = ImportedConversation.objects.create(
            conversation=brought, user=ada, site="chatgpt", source_id=str(brought.pk)
        )
        at = None if imported_days_ago is None else timezone.now() - timedelta(days=imported_days_ago)
        ImportedConversation.objects.filter(pk=row.pk).update(imported_at=at)
    assert "Would delete 2 conversations" in run("--conversations", "30")
    run("--conversations", "30", "--yes")
    assert Conversation.objects.count() == 2
    assert ImportedConversation.objects.filter(imported_at__gt=timezone.now() - timedelta(days=30)).count() == 2


def test_a_conversation_that_is_being_answered_is_kept(ada: User) -> None:
    make_conversation(ada, 90, status="streaming")
    run("--conversations", "30", "--yes")
    assert Conversation.objects.exists()


def test_old_ledger_rows_go_and_every_sum_stays(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "CALLS_A_BATCH", 100)
    ledger_rows.write(ledger_rows.make_ledger_rows(1000, ledger_rows.make_users(4), 100))
    wanted = add_up_in_sql()
    before = read_cards(load_page(admin, period="all"))
    printed = run("--ledger", "40", "--yes")
    cut = timezone.now().date() - timedelta(40)
    rows = ProviderCall.objects.exclude(outcome=Outcome.RUNNING)
    assert not rows.filter(started_at__lt=rollups.find_midnight(cut)).exists()
    assert 350 < rows.count() < 450
    assert add_up_in_sql().calls < wanted.calls
    assert len(re.findall(r"^  \d+ of \d+$", printed, re.MULTILINE)) >= 6
    html = load_page(admin, period="all")
    assert read_cards(html) == before
    assert int(before["Calls"]) == wanted.calls
    assert f"before {cut} were pruned" in html


def test_rows_that_nobody_counted_are_counted_before_they_go(ada: User) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(200, [ada], 60))
    calls = add_up_in_sql().calls
    run("--ledger", "1", "--yes")
    assert sum(UsageDay.objects.values_list("calls", flat=True)) == calls


def test_a_rebuild_after_pruning_keeps_what_has_no_rows_any_more(admin: Client) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(1000, ledger_rows.make_users(4), 100))
    before = load_page(admin, period="all")
    run("--ledger", "40", "--yes")
    rollups.rebuild()
    assert read_cards(load_page(admin, period="all")) == read_cards(before)


def test_a_running_call_is_not_pruned(ada: User) -> None:
    old = timezone.now() - timedelta(days=90)
    ledger_rows.write(iter([ProviderCall(user=ada, model="x:y", started_at=old)]))
    run("--ledger", "30", "--yes")
    assert ProviderCall.objects.exists()


def test_calls_that_a_new_limit_begins_with_are_kept(ada: User) -> None:
    """A limit or a budget that is set later counts the calls of its month and of its week."""
    begins = [find_window(period, timezone.now()).begins for period in Period.values]
    long_ago = min(begins) - timedelta(days=2)
    ledger_rows.write(
        ProviderCall(user=ada, model="x:y", started_at=at, outcome=Outcome.COMPLETE) for at in (*begins, long_ago)
    )
    run("--ledger", "1", "--yes")
    assert sorted(ProviderCall.objects.values_list("started_at", flat=True)) == sorted(begins)


def test_pruning_again_deletes_nothing_more(ada: User) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(200, [ada], 60))
    run("--ledger", "30", "--yes")
    rows = ProviderCall.objects.count()
    assert "0 ledger rows" in run("--ledger", "30", "--yes")
    assert ProviderCall.objects.count() == rows
    assert Pruning.objects.aggregate(count=Count("pk"))["count"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say what to prune"),
        (("--ledger", "0"), "not a number of days from 1"),
        (("--conversations", "-1"), "expected one argument|not a number of days"),
        (("--conversations", "1e3"), "not a number of days from 1"),
        (("--yes",), "Say what to prune"),
    ],
)
def test_a_bad_option_is_named_and_deletes_nothing(ada: User, arguments: tuple[str, ...], sentence: str) -> None:
    make_conversation(ada, 90)
    with pytest.raises(CommandError, match=sentence):
        run(*arguments)
    assert Conversation.objects.exists()
