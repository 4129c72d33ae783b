"""Serves the site, from a fresh clone on: one start of Python for what `make run` does."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from chat.management.numbers import make_parser


class Command(BaseCommand):
    """`manage.py serve`."""

    help = "Migrate, make the demo login on a site without users, print the address, and serve it with daphne."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=make_parser("a port", most=65535), default=8000, help="the port of 127.0.0.1"
        )

    def handle(self, *args: Any, port: int = 8000, **options: Any) -> None:
        call_command("demologin", migrate=True, show=True, port=port)
        self.stdout.flush()
        connections.close_all()  # the event loop is going to run in this thread, and its queries in others
        # It imports the site's application, which asks whether daphne's command line is there.
        from daphne.cli import CommandLineInterface  # noqa: PLC0415

        binding = ["--bind", "127.0.0.1", "--port", str(port), "--no-server-name", "--verbosity", "0"]
        CommandLineInterface().run([*binding, "chatsite.asgi:application"])
