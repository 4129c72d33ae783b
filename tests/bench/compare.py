"""Two commits under the same load, in turn: their ratio, with its spread, says what the machine's mood cannot.

`python -m tests.bench.compare main --rounds 3 --servers daphne --streams 50,200`: what follows the revision goes to
`tests.bench`, which each commit runs as it is there, with this interpreter and its packages. Commit what is to be
measured first: a working tree is not looked at. A ratio above 1 means that HEAD takes more than the revision.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.bench import tables
from tests.support.server import ROOT

Figures = dict[tuple[str, str], float]
"""A figure of the table by its line and its column."""

COLUMNS = {
    "First word added, p50 / p99, ms": ("first word p50, ms", "first word p99, ms"),
    "Token delay, p50 / p99, ms": ("token delay p50, ms", "token delay p99, ms"),
    "CPU-s per 100,000 tokens": ("CPU-s per 100,000 tokens",),
    "KiB a stream": ("KiB a stream",),
}
"""The columns that are compared, and what their figures are called."""

HEAD = ("Streams, target and figure", "Before", "After", "Ratio", "Lowest", "Highest")

# Seconds for one run of one commit.
PATIENCE = 3600

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def make_figures(page: str) -> Figures:
    """Return the figures of a table that `tests.bench` has written; a cell that is no number has none."""
    head, _, *rows = [_split_cells(line) for line in page.splitlines() if line.startswith("|")]
    figures: Figures = {}
    for name, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            for figure, number in zip(COLUMNS.get(column, ()), _NUMBER.findall(cell), strict=False):
                figures[name, figure] = float(number)
    return figures


def compare(before: Sequence[Figures], after: Sequence[Figures]) -> list[list[str]]:
    """Return a line for each figure that both have: the medians, and the ratio of each round's pair.

    A figure of 0 has no ratio.
    """
    rows = []
    for key in before[0]:
        both = [(one, other) for one, other in zip(before, after, strict=True) if key in one and key in other]
        pairs = [(one[key], other[key]) for one, other in both]
        ratios = sorted(other / one for one, other in pairs if one)
        shown = [f"{value:.2f}" for value in (median(ratios), ratios[0], ratios[-1])] if ratios else [tables.NONE] * 3
        middles = [f"{median(values):.1f}" for values in zip(*pairs, strict=True)] if pairs else [tables.NONE] * 2
        rows.append([": ".join(key), *middles, *shown])
    return rows


def measure_in_turn(trees: Mapping[str, Path], rounds: int, arguments: Sequence[str]) -> dict[str, list[Figures]]:
    """Run the bench of each tree, one after the other, so often; every second round begins with the last tree."""
    figures: dict[str, list[Figures]] = {name: [] for name in trees}
    for number in range(rounds):
        for name in sorted(trees, reverse=number % 2 == 1):
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            figures[name].append(_run_bench(trees[name], arguments))
    return figures


def _run_bench(tree: Path, arguments: Sequence[str]) -> Figures:
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.md"
        command = [sys.executable, "-m", "tests.bench", *arguments, "--write", str(page)]
        subprocess.run(command, cwd=tree, stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)
        return make_figures(page.read_text())


@contextmanager
def check_out(revision: str) -> Iterator[Path]:
    """Have a commit in a directory of its own. Raises `CalledProcessError` for a revision that does not exist."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare", description=__doc__)
    parser.add_argument("revision", help="the commit before; the one after is HEAD")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    asked, arguments = parser.parse_known_args()
    with check_out(asked.revision) as before, check_out("HEAD") as after:
        figures = measure_in_turn({"after": after, "before": before}, asked.rounds, arguments)
    print(tables.format_table(HEAD, compare(figures["before"], figures["after"])))


if __name__ == "__main__":
    main()
