"""The calculator: arithmetic and nothing else, and no expression takes the server's time."""

from __future__ import annotations

import json
import math
import time

import pytest

from chat.tools.base import Context, ToolError
from chat.tools.calculator import LONGEST, calculate
from chat.tools.toolbox import Toolbox

CONTEXT = Context(1, "")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 2", 4),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-3 ** 2", -9),
        ("+7 - -7", 14),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 3", 1),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("1 ** 999999999", 1),
        ("2 ** 1000", 2**1000),
        ("2 ** 2000 * 2 ** 2000 // 2 ** 3999", 2),
        ("sqrt(16)", 4),
        ("sin(0) + cos(0) + tan(0)", 1),
        ("log(e)", 1),
        ("log(8, 2)", 3),
        ("log10(1000)", 3),
        ("exp(0)", 1),
        ("round(2.675 * 100) / 100", 2.68),
        ("round(pi, 2)", 3.14),
        ("min(3, 1, 2) + max(3, 1, 2)", 4),
        ("abs(-5)", 5),
        ("floor(2.7) + ceil(2.1)", 5),
        ("2 * pi", 2 * math.pi),
        ("1e3", 1000),
        ("  1 + 1  ", 2),
    ],
)
def test_the_calculator_calculates(expression: str, value: float) -> None:
    assert calculate(expression) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "9**9**9**9",
        "9.0**9**9",
        "(2**4000)**(2**4000)",
        "2**4000 * 2**4000",
        "2**2000 * 2**2000 * 2**97",
        "*".join(["2**1000"] * 50),
        "9" * 10_000_000,
        "9" * LONGEST + "**" + "9" * LONGEST,
        "(" * LONGEST,
        "-" * (LONGEST - 1) + "x",
        "(" * 240 + "1" + ")" * 240,
        "round(5, -10**1000)",
        "round(1.5, 2**1000)",
        "exp(10000)",
        "10.0**400",
        "floor(1e308) ** 9",
        "1e999",
        "log(" * 100 + "2" + ")" * 100,
    ],
    ids=lambda expression: expression[:20],
)
def test_expressions_with_too_large_results_are_refused_at_once(expression: str) -> None:
    calculate("1")
    # The best of three: another process may hold the machine for longer than the 50 ms.
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        with pytest.raises(ToolError):
            calculate(expression)
        best = min(best, time.perf_counter() - start)
    assert best < 0.05


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "2 +",
        "two plus two",
        "x",
        "True + 1",
        "'a' * 3",
        "1j",
        "[1, 2][0]",
        "(1).real",
        "(1).__class__.__bases__",
        "__import__('os').system('true')",
        "abs.__self__",
        "sqrt",
        "(lambda: 1)()",
        "max(*[1, 2])",
        "round(number=2.5)",
        "1 if 1 else 2",
        "1 < 2",
        "~1",
        "1 << 100",
        "x := 1",
        "1; 2",
        "print(1)",
        "\x00",
    ],
)
def test_expressions_that_are_no_arithmetic_are_refused(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / 0", "Division by zero"),
        ("0 ** -1", "Division by zero"),
        ("1 % 0", "Division by zero"),
        ("sqrt(-1)", "Not defined"),
        ("log(0)", "Not defined"),
        ("(-8) ** 0.5", "no real number"),
        ("min()", "Not defined"),
        ("9**9**9", "too large"),
        ("name + 1", "Arithmetic has no 'name'"),
    ],
)
def test_an_error_says_what_is_wrong(expression: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        calculate(expression)


async def test_a_model_can_call_it() -> None:
    toolbox = Toolbox(["chat.tools.calculator.calculator"])
    outcome = await toolbox.run("calculator", json.dumps({"expression": "2**10"}), CONTEXT, 15)
    assert (outcome.ok, outcome.content, outcome.summary) == (True, "1024", "1024")


async def test_a_model_reads_why_it_got_no_number() -> None:
    toolbox = Toolbox(["chat.tools.calculator.calculator"])
    outcome = await toolbox.run("calculator", json.dumps({"expression": "9**9**9"}), CONTEXT, 15)
    assert (outcome.ok, outcome.content) == (False, "Error: The power is too large")
