"""A calculator without eval, whose results are bounded in size, so that none takes the server's time or memory."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from chat.tools.base import ToolError

LONGEST = 500
"""Characters of an expression. Its depth cannot be more, which keeps the parser and us far from the stack's end."""

LARGEST_BITS = 4_096
"""Bits of a whole number: about 1,200 digits, which Python prints in microseconds."""

Number = int | float

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "round": round,
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
}

CONSTANTS = {"pi": math.pi, "e": math.e}


def calculator(
    expression: Annotated[
        str,
        Field(description="For example (2 + 3) * sqrt(16) / 7 ** 2. Angles are in radians; log(x, base), round(x, n)."),
    ],
) -> str:
    """Calculate what an arithmetic expression comes to.

    Knows + - * / // % **, brackets, sqrt sin cos tan log log10 exp round min max abs floor ceil, pi and e.
    """
    return str(calculate(expression))


def calculate(expression: str) -> Number:
    """Return the value of the expression; raise `ToolError` when it is no arithmetic, not defined, or too large."""
    if len(expression) > LONGEST:
        raise ToolError(f"The expression is longer than {LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _compute_value(tree.body)
    except ZeroDivisionError:
        raise ToolError("Division by zero") from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ToolError(f"{expression!r} is no arithmetic expression") from None
    except OverflowError:
        raise ToolError("The result is too large") from None
    except (ValueError, TypeError) as error:
        raise ToolError(f"Not defined: {error}") from None


def _compute_value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _check_size(number)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in SIGNS:
            return _check_size(SIGNS[type(sign)](_compute_value(operand)))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _compute_power(_compute_value(left), _compute_value(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return _check_size(OPERATORS[type(sign)](_compute_value(left), _compute_value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _call_function(name, [_compute_value(argument) for argument in arguments])
    raise ToolError(f"Arithmetic has no {ast.unparse(node)!r}")


def _call_function(name: str, arguments: list[Number]) -> Number:
    # round(5, -10**1000) would compute that power of ten.
    if name == "round" and len(arguments) == 2 and not abs(arguments[1]) <= LONGEST:
        raise ToolError("round() takes up to 500 places")
    return _check_size(FUNCTIONS[name](*arguments))


def _compute_power(base: Number, exponent: Number) -> Number:
    """Return the power, or refuse it before it is computed when it is certain to be too large."""
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and (int(base).bit_length() - 1) * exponent > LARGEST_BITS:
        raise ToolError("The power is too large")
    return _check_size(base**exponent)


def _check_size(number: Any) -> Number:
    if isinstance(number, int) and number.bit_length() > LARGEST_BITS:
        raise ToolError("The result is too large")
    if not isinstance(number, int) and (not isinstance(number, float) or not math.isfinite(number)):
        raise ToolError("The result is no real number" if isinstance(number, complex) else "The result is too large")
    return number
