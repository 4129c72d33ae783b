"""Figures: the sums of some calls, and the lines of the tables that they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any

from chat.accounting.latency import UNKNOWN, Timing
from chat.models import COST_UNIT, SUMS, Outcome


@dataclass(slots=True)
class Figures:
    """The sums of some calls, named as in `SUMS`."""

    calls: int = 0
    estimated: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    written_hour_tokens: int = 0
    reasoning_tokens: int = 0
    searches: int = 0
    cost_units: int = 0
    interrupted: int = 0

    def add(self, sums: Sequence[int], outcome: str) -> None:
        """Add a row of sums, in the order of `SUMS`.

        A page does this 19,000 times. One by one by their names it takes four times as long, 60 ms in all.
        """
        calls, estimated, unpriced, tokens_in, tokens_out, cached, written, hour, reasoning, searches, units = sums
        self.calls += calls
        self.estimated += estimated
        self.unpriced += unpriced
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.cached_tokens += cached
        self.written_tokens += written
        self.written_hour_tokens += hour
        self.reasoning_tokens += reasoning
        self.searches += searches
        self.cost_units += units
        if outcome == Outcome.INTERRUPTED:
            self.interrupted += calls

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def all_written_tokens(self) -> int:
        """Input tokens that were written to providers' caches, for five minutes or an hour."""
        return self.written_tokens + self.written_hour_tokens

    @property
    def cost(self) -> Decimal | None:
        """The cost in US dollars, not rounded; None when none of the calls has a price."""
        return None if self.unpriced == self.calls and self.calls else self.cost_units * COST_UNIT

    @property
    def error_share(self) -> float:
        return self.interrupted / self.calls if self.calls else 0.0

    @property
    def estimated_share(self) -> float:
        return self.estimated / self.calls if self.calls else 0.0


@dataclass(slots=True)
class Line:
    """One line of a table."""

    name: str
    figures: Figures = field(default_factory=Figures)
    timing: Timing = UNKNOWN
    key: Any = None  # what a filter for this line takes


def sum_lines(lines: Iterable[Line]) -> Figures:
    """Add up lines that share no call."""
    total = Line("total")
    for line in lines:
        merge_line(total, line)
    return total.figures


def merge_line(line: Line, other: Line) -> None:
    """Add the figures of another line, which shares no call with this one."""
    line.figures.add(_list_sums(other.figures), "")
    line.figures.interrupted += other.figures.interrupted


_list_sums = attrgetter(*SUMS)


def find_line(lines: dict[str, Line], name: str) -> Line:
    """Return the line with this name, which is added where there is none."""
    if name not in lines:
        lines[name] = Line(name, key=name)
    return lines[name]


def sort_by_size(lines: Iterable[Line]) -> list[Line]:
    """Return lines with the dearest first, and those of one price by tokens and calls."""

    def rank_line(line: Line) -> tuple[int, int, int, str]:
        return -line.figures.cost_units, -line.figures.tokens, -line.figures.calls, line.name

    return sorted(lines, key=rank_line)
