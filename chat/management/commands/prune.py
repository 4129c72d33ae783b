"""Deletes what is older than the site wants to keep."""

from __future__ import annotations

from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from chat.accounting.rollups import catch_up, find_midnight
from chat.models import LIVE, Conversation, Message, Meter, Outcome, OutcomeHour, ProviderCall, Pruning

# What one transaction deletes: 0.1 s or so, in which SQLite has no other writer.
CONVERSATIONS_A_BATCH = 100
CALLS_A_BATCH = 2000

EPILOG = """
Nothing is deleted without --yes: the first run tells what the second would do. It may be stopped at any time and be
started again, and the site may run meanwhile.

A conversation goes with its messages when nothing was said in it for so many days. Its calls stay on the ledger.
A ledger row goes when its call began that many days ago; the sums of its day stay, so reports and the review show the
same totals as before, but no single calls. The meters of limits and the counts of each hour's failures go with their
days. Days are UTC, and a day is pruned as a whole.

  manage.py prune --conversations 365 --ledger 730           what would go
  manage.py prune --conversations 365 --ledger 730 --yes     let it go
"""


def parse_days(text: str) -> int:
    """Parse a number of days."""
    if not text.isdecimal() or not 1 <= int(text) <= 36500:
        raise ArgumentTypeError(f"{text!r} is not a number of days from 1 to 36500")
    return int(text)


class Command(BaseCommand):
    """`manage.py prune`."""

    help = "Delete conversations and ledger rows that are older than so many days; a dry run without --yes."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--conversations", type=parse_days, metavar="DAYS", help="keep those of so many days")
        parser.add_argument("--ledger", type=parse_days, metavar="DAYS", help="keep single calls of so many days")
        parser.add_argument("--yes", action="store_true", help="delete; without it nothing is")

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
        old = Conversation.objects.filter(updated_at__lt=before).exclude(pk__in=live).order_by("pk")
        count, messages = old.count(), Message.objects.filter(conversation__in=old).count()
        description = f"{count:,} conversations with {messages:,} messages, silent since {before:%Y-%m-%d}"
        self._delete(old, CONVERSATIONS_A_BATCH, description, count, yes=yes)

    def _prune_ledger(self, keep: int, *, yes: bool) -> None:
        before = (timezone.now() - timedelta(days=keep)).date()
        old = ProviderCall.objects.filter(started_at__lt=find_midnight(before)).exclude(outcome=Outcome.RUNNING)
        count = old.count()
        if yes and count:
            catch_up()
            # Said before the first row goes, so that no one takes what is left for all there was.
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


def _delete_in_batches(old: QuerySet[Any], size: int) -> Iterator[int]:
    """Delete batch by batch, and tell after each how many are gone."""
    deleted = 0
    while True:
        with transaction.atomic():
            # The condition is asked again as the rows go: someone may have gone on with a conversation meanwhile.
            batch = list(old.select_for_update().values_list("pk", flat=True)[:size])
            old.filter(pk__in=batch).delete()
        if not batch:
            return
        deleted += len(batch)
        yield deleted
