"""The bench runs to its end and tells the truth: tiny numbers, real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import tables
from tests.bench.client import Job, Listening, Reading, Target
from tests.bench.provider import LAYOUT, STAMP, make_stamp, write_stamped
from tests.support.server import ROOT

PATIENCE = 300  # seconds, on a machine that does much else


def run_bench(module: str, *arguments: str) -> str:
    """Run a bench."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(module: str, page: Path, *arguments: str) -> list[list[str]]:
    """Run a bench; return the lines of all tables that it wrote into the page."""
    run_bench(module, *arguments, "--write", str(page))
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_load_bench_measures_every_target_and_writes_a_whole_table(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nWritten by hand.\n")
    few = ("--servers", "daphne", "--streams", "2", "--tokens", "5", "--spread", "0", "--ready", "0.5")
    head, rule, *rows = run("tests.bench", page, *few)
    assert [row[0] for row in rows] == [
        "2, the provider",
        "2, pass-through",
        "2, daphne, SQLite, memory, limits and budgets: JSON",
        "2, daphne, SQLite, memory, limits and budgets: HTML",
    ]
    assert {len(row) for row in (head, rule, *rows)} == {9}
    assert [row[1] for row in rows] == ["2 of 2"] * 4
    assert all(float(row[4]) >= 0 and int(row[7]) > 0 for row in rows)
    assert all(float(middle) > 0 for row in rows for middle in (row[2].split(" / ")[0], row[3].split(" / ")[0]))
    assert page.read_text().startswith("# Performance\n\nWritten by hand.\n\n<!-- bench: load -->\n")


def test_the_growth_bench_writes_a_line_for_each_length_and_number_of_turns(tmp_path: Path) -> None:
    rows = run("tests.bench.growth", tmp_path / "page.md", "--characters", "400", "--turns", "1,2")
    assert [row[0] for row in rows if row[0][0].isdigit()] == ["400 as JSON", "400 as HTML", "1", "2"]
    sizes = [float(row[3]) for row in rows if row[0] in ("1", "2")]
    assert sizes[1] > sizes[0] > 1, "a page of two turns is longer than one of one"


def test_the_browser_bench_sees_a_whole_answer(tmp_path: Path) -> None:
    rows = run(
        "tests.bench.browser",
        tmp_path / "page.md",
        "--characters",
        "2000",
        "--rates",
        "2000",
        "--of",
        "",
        "--again",
        "1",
    )
    figures = {row[0].rpartition(": ")[2]: row[1] for row in rows}
    assert float(figures["Page weight, unpacked"].split()[0]) > float(figures["Page weight, with gzip"].split()[0]) > 1
    assert float(figures["First word, from click to paint"].split()[0]) > 0
    assert float(figures["final HTML"].split()[0]) > 1
    assert float(figures["bytes of the stream"].split()[0]) >= float(figures["final HTML"].split()[0])


def test_the_question_bench_counts_what_a_question_costs() -> None:
    told = [line.split() for line in run_bench("tests.bench.question", "--questions", "3").splitlines()]
    figures = {words[1].rstrip(","): float(words[0]) for words in told}
    assert figures["ms"] > 0
    assert figures["statements"] >= 7  # the question's four, the end's three
    assert figures["hand-overs"] >= 2  # for each of these


def make_reading(tokens: list[bytes], target: Target = "provider", end: bytes = b"data: [DONE]\n\n") -> Reading:
    listening = Listening(Job(target, "", "", 150, [], []), make_stamp())
    for token in tokens:
        listening.feed(b'data: {"id":"7","created":1760000000,"content":"' + token + b'"}\n\n')
    listening.feed(end)
    return listening.finish()


def test_a_stream_with_all_its_tokens_in_order_is_complete() -> None:
    tokens = list(write_stamped(150, make_stamp()))
    assert len(LAYOUT) < 150, "every part of the layout is there"
    assert make_reading(tokens).complete
    assert len(make_reading(tokens).delays) == 150


def test_a_stream_that_lacks_a_token_or_has_one_twice_or_in_the_wrong_place_is_not() -> None:
    tokens = list(write_stamped(150, make_stamp()))
    assert not make_reading(tokens[:60] + tokens[61:]).complete
    assert not make_reading([*tokens[:60], tokens[59], *tokens[60:]]).complete
    assert not make_reading([*tokens[:60], tokens[61], tokens[60], *tokens[62:]]).complete


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    assert not make_reading(list(write_stamped(150, make_stamp())), end=b": ping\n\n").complete


def test_a_page_may_show_a_token_again_but_may_not_lack_one() -> None:
    tokens = list(write_stamped(150, make_stamp()))
    again = [tokens[0], *(b" ".join(tokens[max(1, place - 3) : place + 1]) for place in range(1, 150))]
    end = b"event: done\ndata: done\n\n"
    assert make_reading(again, "page", end).complete
    assert not make_reading([*again[:60], *again[64:]], "page", end).complete


def test_no_id_is_taken_for_a_stamp() -> None:
    assert STAMP.findall(b"#part-12345678-1234-4123-8123-123456789012-0 12345678 >23456789<") == [
        b"12345678",
        b"23456789",
    ]


def test_a_section_is_written_in_its_place_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- a -->\nold\n<!-- /a -->\n\nafter\n")
    tables.write(page, "a", "new")
    tables.write(page, "b", "last")
    assert page.read_text() == (
        "before\n\n<!-- a -->\n\nnew\n\n<!-- /a -->\n\nafter\n\n<!-- b -->\n\nlast\n\n<!-- /b -->\n"
    )


def test_a_table_with_a_line_too_short_is_refused() -> None:
    with pytest.raises(AssertionError):
        tables.format_table(("a", "b"), [["1"]])
