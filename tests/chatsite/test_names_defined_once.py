"""A module or class defines each name once: of two definitions, as a merge may leave them, only the later counts."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chatsite.test_names_of_functions import ROOT, list_sources


def list_defined_names(scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the names that the scope's own statements define; overloads and property setters are decorated."""
    for statement in scope.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not statement.decorator_list:
                yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("package", ["chat", "chatsite", "tests"])
def test_each_name_of_a_module_or_class_is_defined_once(package: str) -> None:
    repeated = []
    for source in (source for source in list_sources() if source.is_relative_to(ROOT / package)):
        for scope in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(scope, ast.Module | ast.ClassDef):
                names = Counter(list_defined_names(scope))
                repeated += [f"{source.relative_to(ROOT)}: {name}" for name, count in names.items() if count > 1]
    assert repeated == []
