"""A bar in a formula is a sign of the formula: it ends no cell, and is no pipe of a shell."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import render
from tests.support.streamed import read_words, render_inside, stream_pieces

FORMULAS = {
    "$|x|$": "|x|",
    "$P(A|B)$": "P(A|B)",
    "\\(|x|\\)": "|x|",
    "$$|z|$$": "|z|",
    "$\\left| x \\right|$": "|x|",
    "$\\|v\\|$": "‖v‖",
    "$a \\mid b$": "a\u2223b",
    "$||v||$": "||v||",
}


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("marker", ["", "- ", "> ", "1. "])
def test_a_formula_fills_one_cell(formula: str, marker: str) -> None:
    further = marker if marker == "> " else " " * len(marker)
    rows = f"| {formula} | b |", "|---|---|", f"| {formula} and {formula} | `c` |"
    *_, shown = stream_pieces(marker + f"\n{further}".join(rows))
    cells = re.findall("<t[hd]>(.*?)</t[hd]>", shown)
    said = FORMULAS[formula]
    assert [read_words(cell) for cell in cells] == [said, "b", f"{said} and {said}", "c"]
    assert shown.count("<math") == 3


@pytest.mark.parametrize("formula", ["$|x|$", "$|A| = |B|$", "$||v||$", "$|x|^2$", "\\(|x|\\)"])
def test_it_is_a_formula_outside_of_tables_too(formula: str) -> None:
    *_, shown = stream_pieces(f"where {formula}, and so on")
    assert shown.count("<math") == 1
    assert "$" not in shown


@pytest.mark.parametrize("row", ["| $5 | $10 |", "|$5|$10|", "| $HOME | $PATH |", "| `$a` | `b$` |", "| a$ | $b |"])
def test_prices_and_variables_stay_in_their_cells(row: str) -> None:
    html = render_inside(f"| a | b |\n|---|---|\n{row}")
    assert "<math" not in html
    cells = [cell.strip(" `") for cell in row.strip("|").split("|")]
    assert [read_words(cell) for cell in re.findall("<td>(.*?)</td>", html)] == cells


@pytest.mark.parametrize(
    "text", ["cat $a|$b", "echo $x|grep $y|wc", "```\n| $|x|$ |\n```", "    | $|x|$ |", "<div>\n| $|x|$ |"]
)
def test_other_bars_stay_as_they_are(text: str) -> None:
    *_, shown = stream_pieces(text)
    assert "<math" not in shown
    assert "\ufdd8" not in shown
    assert "|" in read_words(shown)
    assert render(text).count("|") == text.count("|")
