"""Interrupts the answers whose server is gone."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from chat.generation import runner


class Command(BaseCommand):
    help = (
        "Interrupt the answers whose server is gone: their code becomes server_lost, the text that was written or that "
        "Redis still holds is kept, their calls are settled on the ledger with estimates, and the open pages show the "
        "end. Every running server does the same every two seconds; this is for when none runs, say before a backup or "
        "after a crash. A server counts as gone when it has not renewed its lease for CHAT_LEASE seconds, so what "
        "running servers write is never touched. It does no harm to run this twice, or on several machines at once."
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
        ended = asyncio.run(_reap(settings.CHAT_LEASE if wait else 0))
        self.stdout.write(f"{ended} answer{'' if ended == 1 else 's'} interrupted.")


async def _reap(wait: float) -> int:
    await asyncio.sleep(wait)
    here = runner()
    try:
        return await here.keeper.sweep()
    finally:
        await here.drain(0)
