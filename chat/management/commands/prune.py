"""`manage.py prune`: deletes conversations and ledger rows that are older than a number of days."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import UTC, date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from chat.accounting.periods import find_window
from chat.accounting.rollups import catch_up, find_midnight
from chat.management.numbers import make_parser
from chat.models import (
    LIVE,
    Conversation,
    ImportedConversation,
    Message,
    Meter,
    Outcome,
    OutcomeHour,
    Period,
    ProviderCall,
    Pruning,
)

# The rows that one transaction deletes, in about 0.1 s, during which SQLite has no other writer.
CONVERSATIONS_A_BATCH = 100
CALLS_A_BATCH = 2000

EPILOG = """
Nothing is deleted without --yes: a run without it says what would be deleted. It may be stopped and started again at
any time, while the site runs.

A conversation is deleted with its messages when it had no question for DAYS days; one that was imported, when that was
DAYS days ago as well, however old it is. Its calls stay on the ledger.
A ledger row is deleted DAYS days after its call began; the sums of its day stay, so reports and the review show the
same totals as before, but no single calls. The meters of limits and the hourly counts of failures are deleted with
their days. Days are UTC, and a day is pruned as a whole. The rows of this month and of this week stay: a new limit or
budget begins with them.

  manage.py prune --conversations 365 --ledger 730           say what would be deleted
  manage.py prune --conversations 365 --ledger 730 --yes     delete it
"""


parse_days = make_parser("a number of days", most=36500)


class Command(BaseCommand):
    """`manage.py prune`."""

    help = "Delete conversations and ledger rows that are older than DAYS; a dry run without --yes."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--conversations", type=parse_days, metavar="DAYS", help="keep the conversations of the last DAYS days"
        )
        parser.add_argument(
            "--ledger", type=parse_days, metavar="DAYS", help="keep the single calls of the last DAYS days"
        )
        parser.add_argument("--yes", action="store_true", help="delete; without it nothing is deleted")

    def handle(
        self,
        *args: Any,
        conversations: int | None = None,
        ledger: int | None = None,
        yes: bool = False,
        **options: Any,
    ) -> None:
        if conversations is None and ledger is None:
            raise CommandError("Say what to prune: --conversations DAYS, --ledger DAYS, or both.")
        if conversations is not None:
            self._prune_conversations(conversations, yes=yes)
        if ledger is not None:
            self._prune_ledger(ledger, yes=yes)
        if not yes:
            self.stdout.write("Nothing was deleted. Run it again with --yes to do so.")

    def _prune_conversations(self, keep: int, *, yes: bool) -> None:
        before = timezone.now() - timedelta(days=keep)
        live = Message.objects.filter(status__in=LIVE).values("conversation")
        imported = ImportedConversation.objects.filter(imported_at__gte=before).values("conversation")
        old = Conversation.objects.filter(updated_at__lt=before).exclude(pk__in=live).exclude(pk__in=imported)
        old = old.order_by("pk")
        count, messages = old.count(), Message.objects.filter(conversation__in=old).count()
        description = f"{count:,} conversations with {messages:,} messages, without a question since {before:%Y-%m-%d}"
        self._delete(old, CONVERSATIONS_A_BATCH, description, count, yes=yes)

    def _prune_ledger(self, keep: int, *, yes: bool) -> None:
        before = _find_first_kept(keep)
        old = ProviderCall.objects.filter(started_at__lt=find_midnight(before)).exclude(outcome=Outcome.RUNNING)
        count = old.count()
        if yes and count:
            catch_up()
            # Written before the first row is deleted, so that nobody mistakes the remaining rows for all rows.
            Pruning.objects.create(before=before, rows=count)
        if yes:  # a few rows a user and day, which nothing reads once their window has ended
            Meter.objects.filter(until__lt=find_midnight(before), held=0).delete()
            OutcomeHour.objects.filter(hour__lt=find_midnight(before)).delete()
        counted = old.filter(counted=True) if yes else old
        self._delete(counted.order_by("pk"), CALLS_A_BATCH, f"{count:,} ledger rows before {before}", count, yes=yes)

    def _delete(self, old: QuerySet[Any], batch: int, description: str, count: int, *, yes: bool) -> None:
        if not yes:
            self.stdout.write(f"Would delete {description}.")
            return
        self.stdout.write(f"Deleting {description}.")
        for deleted in _delete_in_batches(old, batch):
            self.stdout.write(f"  {min(deleted, count):,} of {count:,}")


def _find_first_kept(keep: int) -> date:
    """Return the first day, UTC, whose ledger rows are kept: at the latest the one on which a limit's window began."""
    now = timezone.now()
    windows = [find_window(period, now).begins.astimezone(UTC) for period in Period.values]
    return min(now - timedelta(days=keep), *windows).date()


def _delete_in_batches(old: QuerySet[Any], size: int) -> Iterator[int]:
    """Delete batch by batch, and yield after each how many rows are deleted so far."""
    deleted = 0
    while True:
        with transaction.atomic():
            # The condition is checked again with each batch: a user may have continued a conversation meanwhile.
            batch = list(old.select_for_update().values_list("pk", flat=True)[:size])
            old.filter(pk__in=batch).delete()
        if not batch:
            return
        deleted += len(batch)
        yield deleted
