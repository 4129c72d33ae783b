"""Private attributes of other libraries are touched in the few modules named here, each of which says why.

A new release of a library may rename any of them without a word, so there is one place to mend for each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.server import ROOT

# Documented, in spite of their names: by Python, or by Django's reference of models.
PUBLIC = {"_asdict", "_default_manager", "_exit", "_meta", "_replace", "_state"}

ALLOWED = {
    "_acached_user": "chat/accounts/visitors.py",
    "_aiohttp_response": "chat/providers/response_body.py",
    "_asyncioEventloop": "chatsite/servers/daphne.py",
    "_bound_fields_cache": "chat/conversations/forms.py",
    "_buffer": "chat/providers/response_body.py",
    "_buffer_offset": "chat/providers/response_body.py",
    "_cached_user": "chat/accounts/visitors.py",
    "_dont_enforce_csrf_checks": "chatsite/middleware.py",
    "_has_been_logged": "chat/http/errors.py",
    "_headers": "chat/providers/response_body.py",
    "_path": "chatsite/servers/daphne.py",
    "_raw_headers": "chat/providers/response_body.py",
    "_request_info": "chat/providers/response_body.py",
    "_stream": "chat/providers/response_body.py",
    "_tempDataBuffer": "chatsite/servers/daphne.py",
}


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def is_own_object(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def find_defined_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own_object(node.value):
            yield node.attr


def find_private_names(source: str, own: set[str]) -> set[str]:
    """Return the private names that belong to no class of the module, nor, through `self`, to a class of the site.

    `own` has the names of the whole site: a class may use what its base class in another module defines.
    """
    tree = ast.parse(source)
    here = set(find_defined_names(tree))
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name) if is_private(name):
                if name not in (here | own if is_own_object(value) else here):
                    found.add(name)
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"), args=[_, name, *_]):
                if isinstance(name, ast.Constant) and is_private(name.value) and name.value not in here:
                    found.add(str(name.value))
            case ast.ImportFrom(names=names):
                found |= {each.name for each in names if is_private(each.name)}
    return found


def test_each_private_attribute_is_touched_in_one_module_alone() -> None:
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for room in ("chat", "chatsite")
        for path in sorted((ROOT / room).rglob("*.py"))
        if "migrations" not in path.parts
    }
    own = {name for source in sources.values() for name in find_defined_names(ast.parse(source))}
    touched = {(name, path) for path, source in sources.items() for name in find_private_names(source, own)}
    assert touched == set(ALLOWED.items())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("response._closed = True", {"_closed"}),
        ("getattr(response, '_closed')", {"_closed"}),
        ("setattr(response, '_closed', True)", {"_closed"}),
        ("from library import _private", {"_private"}),
        ("class Form(Base):\n    def end(self):\n        self._cache.clear()", {"_cache"}),
        ("class Form(Base):\n    def end(self):\n        self._shared.clear()", set()),
        ("class Pool:\n    def __init__(self, other):\n        self._size = other._size", set()),
        ("model._meta.fields; point._replace(x=1); value.__class__", set()),
    ],
)
def test_private_names_are_found_however_they_are_reached(source: str, found: set[str]) -> None:
    assert find_private_names(source, {"_shared"}) == found
