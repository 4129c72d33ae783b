"""Makes a bearer token for the HTTP API."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from chat.models import ApiToken, User

LONGEST_NAME = ApiToken._meta.get_field("name").max_length or 0


class Command(BaseCommand):
    """`manage.py apitoken`."""

    help = "Make a bearer token for a user and print it; it cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="api", help="what the token is for, as the admin lists it")

    def handle(self, *args: Any, username: str, name: str, **options: Any) -> None:
        if not 0 < len(name.strip()) <= LONGEST_NAME:
            raise CommandError(f"--name is 1 to {LONGEST_NAME} characters.")
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(f"There is no user {username!r}.") from None
        with transaction.atomic():  # nothing is kept of a token that nobody has read
            self.stdout.write(ApiToken.issue(user, name))
            self.stdout.flush()
