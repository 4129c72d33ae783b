"""Prints what was used in a period, from the same sums as the review in the admin."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import date
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from chat.accounting import reports, rollups
from chat.accounting.figures import Figures, Line, sum_lines
from chat.accounting.reports import By
from chat.accounting.selections import Selection
from chat.admin.usage_csv import write_table
from chat.core.moments import bound_day
from chat.templatetags.figures import NO_PRICE, write_percent

EPILOG = """
Days are UTC, and both ends are included. The sums are those of the ledger to the last token, for pruned days too. In
the table "no price" means that nobody knows what the calls cost, and "+ ?" that some of them have no price.

  manage.py usage_report                                     this month, a line a day
  manage.py usage_report --by user --format csv > users.csv  who used what, for a spreadsheet
  manage.py usage_report --from 2026-01-01 --by model        this year's models
  manage.py usage_report --rebuild                           count the whole ledger again, then report

--rebuild is for a ledger that was changed by hand; rows that are only added are found without it. It takes a
minute or more for a million rows, during which answers are written as always, but for a few seconds at its beginning.
"""

HEADS = (
    "calls",
    "interrupted",
    "estimated",
    "input",
    "cached",
    "written",
    "output",
    "reasoning",
    "searches",
    "US dollars",
)


def parse_day(text: str) -> date:
    """Parse a day such as 2026-01-31."""
    try:
        return bound_day(date.fromisoformat(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-01-31") from None


class Command(BaseCommand):
    """`manage.py usage_report`."""

    help = "Tokens, cost and errors of a period by day, user, group, model or provider, as a table or as CSV."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="start", type=parse_day, metavar="DAY", help="first day; default: of this month"
        )
        parser.add_argument("--to", dest="end", type=parse_day, metavar="DAY", help="last day; default: today")
        parser.add_argument("--by", choices=get_args(By), default="day", help="what a line is; default: day")
        parser.add_argument("--format", choices=("table", "csv"), default="table", help="default: table")
        parser.add_argument("--rebuild", action="store_true", help="count the whole ledger again first")

    def handle(
        self,
        *args: Any,
        start: date | None = None,
        end: date | None = None,
        by: By = "day",
        format: str = "table",  # noqa: A002 - the option's name
        rebuild: bool = False,
        **options: Any,
    ) -> None:
        today = timezone.now().date()
        end = end or max(today, start or today)
        start = start or min(today, end).replace(day=1)
        if start > end:
            raise CommandError(f"The first day, {start}, is after the last one, {end}.")
        counted = (rollups.rebuild if rebuild else rollups.catch_up)(Progress(self))
        if counted:
            self.stderr.write(f"{counted:,} calls counted")
        for bad in rollups.find_rows_left_out():
            self.stderr.write(str(bad))
        lines = reports.make_table(Selection(start, end), by)
        if format == "csv":
            for line in write_table(by, lines):
                self.stdout.write(line, ending="")
        else:
            self._write_table(start, end, by, lines)

    def _write_table(self, start: date, end: date, by: By, lines: Sequence[Line]) -> None:
        self.stdout.write(f"{start} to {end}, by {by}\n\n")
        total = reports.sum_selection(Selection(start, end)).figures if by in {"group", "error"} else sum_lines(lines)
        rows = [(by, *HEADS), *(write_cells(line.name, line.figures) for line in lines), write_cells("total", total)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for number, row in enumerate(rows):
            if number == len(rows) - 1:
                self.stdout.write("  ".join("-" * width for width in widths))
            rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            self.stdout.write("  ".join((row[0].ljust(widths[0]), *rest)).rstrip())
        if by == "group":
            self.stdout.write("\nA user in two groups counts in both; the total counts each call once.")
        if by == "error":
            self.stdout.write("\nThe total is of all calls, not of the interrupted ones alone.")
        if (kept := rollups.find_first_kept_day()) and start < kept:
            self.stdout.write(f"\nRows before {kept} were pruned; their sums are complete.")


def write_cells(name: str, figures: Figures) -> tuple[str, ...]:
    """Return the cells of one line of the table."""
    partly = " + ?" if figures.unpriced else ""
    cost = NO_PRICE if figures.cost is None else f"{figures.cost:,.8f}{partly}"
    return (
        name,
        f"{figures.calls:,}",
        write_percent(figures.error_share),
        write_percent(figures.estimated_share),
        f"{figures.input_tokens:,}",
        f"{figures.cached_tokens:,}",
        f"{figures.all_written_tokens:,}",
        f"{figures.output_tokens:,}",
        f"{figures.reasoning_tokens:,}",
        f"{figures.searches:,}",
        cost,
    )


class Progress:
    """Tells a terminal, and only a terminal, how far the counting is."""

    def __init__(self, command: BaseCommand) -> None:
        self.command = command
        self.counted = 0

    def __call__(self, calls: int) -> None:
        self.counted += calls
        if sys.stderr.isatty():
            self.command.stderr.write(f"\r{self.counted:,} calls counted", ending="")
            self.command.stderr.flush()
