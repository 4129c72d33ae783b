"""Says what a limit would have refused of the calls of the last days."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from chat.accounting.providers import match_model
from chat.accounting.simulation import TriedLimit, simulate
from chat.management.numbers import make_parser
from chat.models import COST_UNIT, Period, User


def parse_dollars(text: str) -> Decimal:
    """Parse an amount of US dollars."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,8})?", text, re.ASCII):
        raise ArgumentTypeError(f"{text[:40]!r} is not an amount of dollars such as 20 or 0.50")
    return Decimal(text)


class Command(BaseCommand):
    """`manage.py simulate_limits`."""

    help = (
        "Say what limits would have refused of the calls of the last days, by the ledger: those of each user, or with "
        "--group or --site the budget of a group or of the site. Nothing is changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parse_tokens = make_parser("a number of tokens", least=0)
        parser.add_argument("--tokens-per-day", type=parse_tokens, metavar="N")
        parser.add_argument("--tokens-per-week", type=parse_tokens, metavar="N")
        parser.add_argument("--tokens-per-month", type=parse_tokens, metavar="N")
        parser.add_argument("--cost-per-day", type=parse_dollars, metavar="DOLLARS")
        parser.add_argument("--cost-per-week", type=parse_dollars, metavar="DOLLARS")
        parser.add_argument("--cost-per-month", type=parse_dollars, metavar="DOLLARS")
        sharers = parser.add_mutually_exclusive_group()
        sharers.add_argument("--group", help="the name of a group, whose users share it")
        sharers.add_argument("--site", action="store_true", help="all calls share it")
        parser.add_argument("--model", default="", help="provider:model, or a provider")
        parser.add_argument("--days", type=make_parser("a number of days", most=3660), default=30)

    def handle(self, *args: Any, group: str | None, site: bool, model: str, days: int, **options: Any) -> None:
        calls = match_model(model)
        if group is not None:
            found = Group.objects.filter(name=group).first()
            if found is None:
                raise CommandError(f"There is no group {group!r}.")
            calls &= Q(user__in=User.objects.filter(groups=found), billed_to="user")
        until = timezone.now()
        has_limit = False
        for period in Period.values:
            for measure in ("tokens", "cost"):
                amount = options[f"{measure}_per_{period}"]
                if amount is None:
                    continue
                has_limit = True
                units = {"tokens": amount} if measure == "tokens" else {"cost_units": int(amount / COST_UNIT)}
                limit = TriedLimit(period, is_of_each_user=group is None and not site, calls=calls, **units)
                text = f"{amount:,} tokens" if measure == "tokens" else f"${amount:,.2f}"
                self.stdout.write(f"{text} a {period}: {simulate(limit, until - timedelta(days=days), until)}")
        if not has_limit:
            raise CommandError("Give a limit, such as --tokens-per-day 50000.")
