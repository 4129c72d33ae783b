"""Indexes what the search does not have yet, or everything once more."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.management.numbers import make_parser
from chat.search.index import index_again, index_some, index_titles_again, remove_orphans

# In one transaction, during which SQLite has no other writer.
MAX_MESSAGES = 10_000


class Command(BaseCommand):
    """`manage.py rebuild_search`."""

    help = (
        "Index the titles and messages that the search does not have yet, the newest first. Every running server does "
        "the same by itself, some 200 messages a second: this is for after the upgrade that brings the search, or "
        "after an import, on a site with many messages. It writes in batches, so the site goes on meanwhile; it may be "
        "broken off and run again at any time, and goes on where it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parse_batch = make_parser("a number of messages", most=MAX_MESSAGES)
        parser.add_argument("--batch", type=parse_batch, default=200, help="messages in one transaction; 200")
        parser.add_argument(
            "--all",
            action="store_true",
            help="index everything once more, and remove what is left of deleted conversations; searches go on",
        )
        parser.add_argument(
            "--after", default="", help="with --all: go on after the message with this id, which it told"
        )

    def handle(self, *args: Any, batch: int, after: str, **options: Any) -> None:
        if after and not options["all"]:
            raise CommandError("--after needs --all: without it, what is not indexed yet is found by itself.")
        if options["all"]:
            self._index_again(_read_id(after), batch)
        done = 0
        while some := index_some(batch):
            done += some
            self._tell(f"{done} titles and messages indexed.")
        if not done:
            self.stdout.write("The index has everything.")

    def _index_again(self, after: UUID | None, batch: int) -> None:
        title = None
        while after is None and (title := index_titles_again(title, batch)) is not None:
            pass
        while (after := index_again(after, batch)) is not None:
            self._tell(f"Indexed once more; if it was stopped, continue with --all --after {after}")
        self.stdout.write(f"{remove_orphans()} entries of deleted conversations removed.")

    def _tell(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise CommandError("--after is the id of a message.") from None
