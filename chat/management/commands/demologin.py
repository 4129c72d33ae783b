"""Makes the demo login of a fresh clone, and shows it."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from chat.accounts.model_registry import describe_models
from chat.management.numbers import make_parser
from chat.models import User

USERNAME = "demo"
PASSWORD = "demo-password"  # noqa: S105 - printed on every start, and made only where nobody has an account yet


class Command(BaseCommand):
    """`manage.py demologin`."""

    help = "Make the login demo on a site without users; with --show, print the address and the login."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="migrate first")
        parser.add_argument("--show", action="store_true", help="print where the site is and how to log in")
        parser.add_argument("--port", type=make_parser("a port", most=65535), default=8000, help="the port to print")

    def handle(self, *args: Any, migrate: bool = False, show: bool = False, port: int = 8000, **options: Any) -> None:
        if migrate:
            call_command("migrate", verbosity=0)
        if not User.objects.exists():
            User.objects.create_superuser(USERNAME, password=PASSWORD)
        if show:
            self._show(port)

    def _show(self, port: int) -> None:
        demo = User.objects.filter(username=USERNAME).first()
        self.stdout.write(f"\n  Chatsite   http://127.0.0.1:{port}/")
        if demo is not None and demo.check_password(PASSWORD):
            self.stdout.write(f"  Log in as  {USERNAME}  with the password  {PASSWORD}")
        self.stdout.write(f"  Answers    {describe_models()}   (Ctrl+C ends the site)\n\n")
