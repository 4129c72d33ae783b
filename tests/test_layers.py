"""Imports run one way, from the vocabulary up to the site: see docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom to the top; a module imports from its own layer and those below. The longest name that fits counts.
LAYERS = (
    ("chat.events", "chat.errors"),
    ("chat.transcript", "chat.tracing", "chat.structure", "chat.places", "chat.pace"),
    ("chat.known", "chat.providers", "chat.broker", "chat.rendering", "chat.tools", "chat.usage", "chat.charts"),
    ("chat.models",),
    ("chat.ledger", "chat.quotas", "chat.context", "chat.tools.conversations"),
    ("chat.turns", "chat.background"),
    ("chat.metrics",),
    ("chat.answers", "chat.access", "chat.notices", "chat.visitors", "chat.sessions", "chat.staff"),
    ("chat.calls",),
    ("chat.titles", "chat.live"),
    ("chat.keeper",),
    ("chat.generation",),
    ("chat.page", "chat.streams", "chat.forms", "chat.staff_forms", "chat.reports", "chat.templatetags", "chat.apps"),
    ("chat.health", "chat.prompt_file"),
    ("chat.views", "chat.account", "chat.monitoring", "chat.admin", "chat.review", "chat.management"),
    ("chat.api", "chat.bulk_retry"),
    ("chat.consumers", "chat.staff_views"),
    ("chat.urls",),
    ("chatsite",),
)

# What must stay usable, and testable, without Django.
PURE = (
    "chat.events",
    "chat.errors",
    "chat.transcript",
    "chat.tracing",
    "chat.structure",
    "chat.places",
    "chat.pace",
    "chat.providers",
    "chat.broker",
    "chat.rendering",
    "chat.tools",
    "chat.usage",
)


def modules() -> list[str]:
    files = [*ROOT.glob("chat/**/*.py"), *ROOT.glob("chatsite/**/*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return sorted(name for name in names if name != "chat" and "migrations" not in name)


def imported(module: str) -> set[str]:
    """The modules that a module imports, wherever in its code."""
    path = ROOT / module.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str) -> int | None:
    fitting = [
        (len(name), height)
        for height, layer in enumerate(LAYERS)
        for name in layer
        if module == name or module.startswith(f"{name}.")
    ]
    return max(fitting)[1] if fitting else None


def knows_models(module: str) -> bool:
    """Whether the module stands above the models, as one part of a pure package may."""
    height, models = layer_of(module), layer_of("chat.models")
    return height is not None and models is not None and height > models


@pytest.mark.parametrize("module", modules())
def test_a_module_has_a_layer_and_imports_nothing_from_above(module: str) -> None:
    height = layer_of(module)
    assert height is not None, f"{module} stands in no layer"
    above = {name for name in imported(module) if (other := layer_of(name)) is not None and other > height}
    assert not above


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith(PURE) and not knows_models(name)])
def test_the_bottom_layers_know_no_django(module: str) -> None:
    assert not {name for name in imported(module) if name.split(".")[0] in {"django", "channels", "chatsite"}}
