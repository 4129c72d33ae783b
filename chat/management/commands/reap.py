"""Interrupts the answers whose server is gone, and settles the calls that it left."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from chat.generation.process import get_runner


class Command(BaseCommand):
    """`manage.py reap`."""

    help = (
        "Interrupt the answers whose server is gone: their code becomes server_lost, the text that was written or that"
        " Redis or the journal (CHAT_JOURNAL) still holds is kept, their calls are settled on the ledger with "
        "estimates, and the open pages show the end. Calls of other purposes, such as titles and batches, and those "
        "whose answer was deleted are settled too, with what their process last wrote of them. Every running server "
        "does the same every two seconds; this is for when none runs, say before a backup or after a crash. A server "
        "counts as gone when it has not renewed its lease for CHAT_LEASE seconds, so what running servers write is "
        "never touched. It does no harm to run this twice, or on several machines at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait",
            action="store_true",
            help="first wait as long as a lease lasts, so that a server that died just now counts as gone too",
        )

    def handle(self, *args: Any, wait: bool = False, **options: Any) -> None:
        if wait:
            self.stderr.write(f"Waiting {settings.CHAT_LEASE:g} s for the leases of servers that died just now.")
        ended, settled = asyncio.run(_reap(settings.CHAT_LEASE if wait else 0))
        self.stdout.write(f"{ended} answer{'' if ended == 1 else 's'} interrupted.")
        if settled:
            purposes = ", ".join(f"{count} {purpose}" for purpose, count in sorted(settled.items()))
            calls = settled.total()
            self.stdout.write(f"{calls} other call{'' if calls == 1 else 's'} settled: {purposes}.")


async def _reap(wait: float) -> tuple[int, Counter[str]]:
    """Return how many answers were ended, and how many other calls were settled by purpose."""
    await asyncio.sleep(wait)
    here = get_runner()
    try:
        sweeper = here.supervisor.sweeper
        return await sweeper.sweep(is_finishing=False), await sweeper.sweep_calls()
    finally:
        await here.drain(0)
