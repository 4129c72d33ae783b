"""No function nests more than three blocks in one another: a reader can hold three conditions in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.server import ROOT

DEEPEST = 3
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def measure_depth(node: ast.AST) -> int:
    """Return how many blocks stand in one another.

    An `elif` stands beside its `if`, and a function within another one counts for itself.
    """
    depths = [measure_depth(child) + (isinstance(child, BLOCKS) and not is_elif(child, node)) for child in walk(node)]
    return max(depths, default=0)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    return (child for child in ast.iter_child_nodes(node) if not isinstance(child, (*FUNCTIONS, ast.Lambda)))


def is_elif(node: ast.AST, parent: ast.AST) -> bool:
    return isinstance(parent, ast.If) and isinstance(node, ast.If) and parent.orelse == [node]


def measure(source: str) -> int:
    return max(measure_depth(node) for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTIONS))


def test_depth_is_that_of_the_deepest_block() -> None:
    assert measure("def f():\n pass") == 0
    assert measure("def f():\n if a:\n  pass\n elif b:\n  pass\n elif c:\n  pass") == 1
    assert measure("async def f():\n while a:\n  try:\n   async with b:\n    pass\n  except C:\n   pass") == 3
    assert measure("def f():\n if a:\n  for b in c:\n   def g():\n    if d:\n     pass") == 2


def test_functions_nest_at_most_three_blocks() -> None:
    deep = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for room in ("chat", "chatsite")
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, FUNCTIONS) and measure_depth(node) > DEEPEST
    ]
    assert deep == []
