"""A function's name is a verb phrase: what it does (`retry_answer`) or what it answers (`is_live`, `may_read`).

A new verb is added to verbs.txt; a noun, a participle or an adverb is not (`asked`, `later`, `path_of`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VERBS = frozenset((Path(__file__).parent / "verbs.txt").read_text(encoding="utf-8").split())

# What a function answers with yes or no.
PREDICATES = frozenset(
    [
        "accepts",
        "are",
        "asks",
        "begins",
        "can",
        "closes",
        "covers",
        "has",
        "is",
        "may",
        "matches",
        "needs",
        "offers",
        "opens",
        "supports",
        "takes",
        "thinks",
    ]
)

# `to_json`, `from_message`, `as_review_page`: conversions.
CONVERSIONS = frozenset({"to", "from", "as"})

# Names that a framework has chosen: Django, the ASGI servers, pydantic, `http.server`; and what a program begins with.
OVERRIDES = frozenset(
    [
        "aauthenticate",
        "addWriter",
        "admin_view",
        "changelist_view",
        "choices",
        "connectionLost",
        "connectionMade",
        "connection_lost",
        "connection_made",
        "cursor",
        "dataReceived",
        "data_received",
        "do_GET",
        "do_POST",
        "eof_received",
        "field_choices",
        "field_title_should_be_set",
        "formfield_for_dbfield",
        "gotLength",
        "handleContentChunk",
        "lookup_allowed",
        "lookups",
        "main",
        "path",
        "pauseProducing",
        "queryset",
        "ready",
        "removeWriter",
        "resumeProducing",
        "rollback",
        "stopProducing",
        "throw",
        "url",
        "_base_scope",
    ]
)

# The usual names of what a decorator and a factory of Django middleware return.
RETURNED = frozenset({"wrapped", "middleware"})

# Tools: models read these names.
TOOLS = frozenset({"calculator", "current_time"})

# What tests call so: fixtures are what they give, strategies of hypothesis what they draw, tools what a model reads.
NOUNS = ("fixture", "composite", "server.tool")
TOOLS_OF_TESTS = {
    "tests/generation/test_tool_loop.py": {"slow", "broken", "whose", "endless"},
    "tests/tools/test_tools.py": {
        *("nothing", "no_docstring", "no_type", "any_number", "no_schema", "odd", "loop"),
        *("on_the_loop", "beside_it", "sync_tool", "async_tool", "stubborn_tool"),
    },
}


def list_sources() -> list[Path]:
    sources = (path for room in ("chat", "chatsite", "tests") for path in (ROOT / room).rglob("*.py"))
    return sorted(path for path in sources if "migrations" not in path.parts)


def find_functions(tree: ast.AST, of: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield each function with the name of the class that it is a method of."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield of, node
            yield from find_functions(node)
        else:
            yield from find_functions(node, node.name if isinstance(node, ast.ClassDef) else of)


def is_a_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(noun in decorator for decorator in decorators for noun in ("property", *NOUNS))


def is_pytests(name: str) -> bool:
    """Return whether pytest calls it: a test, whose name is a sentence, or a hook."""
    return name.startswith(("test_", "pytest_"))


def is_named_well(name: str, of: str) -> bool:
    if name in OVERRIDES | RETURNED | TOOLS or (name.startswith("__") and name.endswith("__")):
        return True
    # Filters of a queryset read as adjectives, as Django's own examples do: `Message.objects.live()`.
    if of.endswith("QuerySet") or name.endswith("Middleware"):
        return True
    return name.lstrip("_").split("_")[0] in VERBS | PREDICATES | CONVERSIONS


def test_functions_are_verb_phrases() -> None:
    riddles = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path in list_sources()
        for of, function in find_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not is_a_value(function) and not is_pytests(function.name) and not is_named_well(function.name, of)
        if function.name not in TOOLS_OF_TESTS.get(str(path.relative_to(ROOT)), ())
    ]
    assert riddles == []


@pytest.mark.parametrize("name", ["asked", "later", "path_of", "_told", "further", "exchanger", "machine_text"])
def test_names_that_are_not_verb_phrases_are_found(name: str) -> None:
    assert not is_named_well(name, "")
