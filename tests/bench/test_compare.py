"""Two commits are compared figure by figure, round by round."""

from __future__ import annotations

from pathlib import Path

from tests.bench import tables
from tests.bench.__main__ import HEAD
from tests.bench.compare import COLUMNS, check_out, compare, make_figures
from tests.support.server import ROOT

ROW = ["2, daphne: JSON", "2 of 2", "10.5 / 80", "0.5 / 3", "8.0", "2.0 x", "60", "5", "0.1"]


def test_the_columns_are_those_that_the_bench_writes() -> None:
    assert COLUMNS.keys() <= set(HEAD)


def test_figures_are_read_from_the_table_that_the_bench_writes() -> None:
    assert make_figures("# A page\n\n" + tables.format_table(HEAD, [ROW])) == {
        ("2, daphne: JSON", "first word p50, ms"): 10.5,
        ("2, daphne: JSON", "first word p99, ms"): 80,
        ("2, daphne: JSON", "token delay p50, ms"): 0.5,
        ("2, daphne: JSON", "token delay p99, ms"): 3,
        ("2, daphne: JSON", "CPU-s per 100,000 tokens"): 8,
        ("2, daphne: JSON", "KiB a stream"): 60,
    }


def test_a_cell_without_a_number_has_no_figure() -> None:
    row = ["1, the provider", "0 of 2", "nan / nan", "-", "8.0", "-", "60", "5", "0.1"]
    assert ("1, the provider", "first word p50, ms") not in make_figures(tables.format_table(HEAD, [row]))


def test_the_ratio_is_that_of_each_round_because_the_machine_is_slow_in_both() -> None:
    key = ("2, daphne: JSON", "CPU-s per 100,000 tokens")
    before = [{key: 8.0}, {key: 16.0}, {key: 8.0}]
    after = [{key: 8.8}, {key: 16.0}, {key: 9.6}]
    assert compare(before, after) == [[": ".join(key), "8.0", "9.6", "1.10", "1.00", "1.20"]]


def test_a_figure_of_nothing_and_one_that_the_other_lacks_have_no_ratio() -> None:
    assert compare([{("a", "b"): 0.0, ("c", "d"): 1.0}], [{("a", "b"): 2.0}]) == [
        ["a: b", "0.0", "2.0", "-", "-", "-"],
        ["c: d", "-", "-", "-", "-", "-"],
    ]


def test_a_commit_is_measured_in_a_directory_of_its_own() -> None:
    with check_out("HEAD") as tree:
        assert (tree / "tests/bench/__main__.py").is_file()
        assert tree != Path(ROOT)
    assert not tree.exists()
