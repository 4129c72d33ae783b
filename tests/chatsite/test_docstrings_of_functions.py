"""A function's docstring begins with an imperative: "Return …", "Keep …", "Yield …"; ruff finds "Returns", not "The".

A test's one sentence states what must hold; the docstring of a value (a fixture, a property) names it, and that of
`__init__` says what its arguments are.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.chatsite.test_names_of_functions import ROOT, VERBS, find_functions, is_a_value, is_pytests, list_sources

# Imperatives that begin no function's name here. "See" is for a method of an interface, which says it.
MORE = frozenset(
    [
        *("accept", "become", "clear", "correct", "emit", "empty", "hand", "have"),
        *("lead", "provide", "roll", "see", "title", "truncate", "yield"),
    ]
)


def find_other_beginnings(source: Path) -> list[str]:
    """Return the lines of a file where a function's docstring begins otherwise."""
    lines = []
    for _, function in find_functions(ast.parse(source.read_text(encoding="utf-8"))):
        docstring = ast.get_docstring(function)
        if docstring is None or is_a_value(function) or is_pytests(function.name) or function.name == "__init__":
            continue
        first = docstring.split()[0].strip('.,:;`"').lower()
        if first not in VERBS | MORE:
            lines.append(f"{source.relative_to(ROOT)}:{function.lineno} {function.name}: {docstring.splitlines()[0]}")
    return lines


@pytest.mark.parametrize("room", ["chat", "chatsite", "tests"])
def test_docstrings_of_functions_begin_with_an_imperative(room: str) -> None:
    sources = [source for source in list_sources() if source.is_relative_to(ROOT / room)]
    assert [line for source in sources for line in find_other_beginnings(source)] == []
