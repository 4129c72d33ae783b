"""A bad setting stops the start with one clear line, and every setting is explained in docs/configuration.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of their own."""
    return subprocess.run(
        [sys.executable, "-c", "import chatsite.settings"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SECRET_KEY": "key", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_environment_is_enough() -> None:
    assert start().returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEBUG", "maybe", "must be one of"),
        ("DATABASE_URL", "nonsense", "is not a URL"),
        ("DATABASE_URL", "mysterydb://host/name", "is not a URL"),
        ("CHAT_MODELS", "gpt-4o", "must list provider:model"),
        ("CHAT_MODELS", "nobody:model", "must list provider:model"),
        ("CHAT_PRICES", "openai:gpt-4o=cheap", "must list provider:model=input/output"),
        ("CHAT_FIRST_TOKEN_TIMEOUT", "0", "must be at least 0.1"),
        ("CHAT_IDLE_NOTICE", "soon", "must be a number"),
        ("CHAT_IDLE_TIMEOUT", "-1", "must be at least 0.1"),
        ("CHAT_TOTAL_TIMEOUT", "inf", "must be at least 0.1"),
        ("CHAT_TOTAL_TIMEOUT", "nan", "must be at least 0.1"),
        ("CHAT_ABANDON_AFTER", "-1", "must be at least 0"),
        ("CHAT_LEASE", "1", "three times CHAT_CHECKPOINT"),
        ("CHAT_CHECKPOINT", "0", "must be at least 0.05"),
        ("CHAT_FLUSH_MS", "1.5", "must be a whole number"),
        ("CHAT_DRAIN", "x", "must be a number"),
        ("CHAT_HEARTBEAT", "0", "must be at least 0.1"),
        ("CHAT_HEARTBEAT", "60", "must be at most 15"),
        ("CHAT_TITLE_MODEL", "nobody:small", "must be provider:model with a provider of"),
        ("CHAT_MCP", "{", "must be JSON"),
        ("CHAT_MCP", '{"files": 1}', "must be a JSON object of objects"),
        ("CHAT_TOOL_STEPS", "0", "must be at least 1"),
        ("CHAT_MAX_TOKENS", "openai:gpt-4o=many", "must list provider:model=tokens"),
        ("CHAT_CONTEXT_WINDOWS", "gpt-4o=8000", "must list provider:model=tokens"),
        ("CHAT_METRICS_NETWORKS", "10.0.0.0/8, home", "must list networks"),
        ("CHAT_READY_LAG", "0", "must be at least 0.05"),
        ("CHAT_LOG_FORMAT", "xml", "must be line or json"),
        ("CHAT_ACCESS_LOG", "maybe", "must be one of"),
        ("REDIS_URL", "localhost:6379", "is not a URL such as redis://host:6379/0"),
        ("CHAT_MAX_ANSWER_CHARS", "0", "must be at least 1"),
        ("CHAT_MAX_PROMPT_CHARS", "lots", "must be a whole number"),
        ("CHAT_USER_REQUESTS_PER_MINUTE", "-1", "must be at least 0"),
        ("CHAT_USER_STREAMS", "many", "must be a whole number"),
        ("CHAT_USER_TOKENS_PER_DAY", "1e6", "must be a whole number"),
        ("CHAT_USER_COST_PER_MONTH", "$5", "must be a number"),
        ("CHAT_USER_COST_PER_MONTH", "-5", "must be at least 0"),
        ("CHAT_USER_COST_PER_MONTH", "NaN", "must be at least 0"),
        ("CHAT_RESERVE_OUTPUT", "some", "must be a whole number"),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line(name: str, value: str, words: str) -> None:
    ended = start(**{name: value})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Configuration error: {name} ")
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_bad_database_url_is_refused_without_showing_its_password() -> None:
    assert "hunter2" not in start(DATABASE_URL="mysterydb://user:hunter2@host/name").stderr


@pytest.mark.parametrize(
    ("environment", "models"),
    [
        ({}, ["demo:tour"]),
        ({"OPENAI_API_KEY": "k"}, ["openai:gpt-4o"]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, ["openai:gpt-4o"]),
        ({"ANTHROPIC_API_KEY": "k"}, ["anthropic:claude-sonnet-4-5"]),
        ({"OPENAI_API_KEY": "k", "CHAT_MODELS": "demo:tour, openai:o3"}, ["demo:tour", "openai:o3"]),
    ],
)
def test_the_models_are_those_named_or_those_that_the_keys_allow(
    environment: dict[str, str], models: list[str]
) -> None:
    code = "import chatsite.settings as s; print(','.join(s.CHAT_MODELS))"
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": "key", **environment}
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip().split(",") == models


def settings_read() -> set[str]:
    """The variables that settings.py reads, by the way it reads them."""
    source = (ROOT / "chatsite" / "settings.py").read_text()
    return set(re.findall(r'env\.(?:text|items|boolean|number|integer|mapping|decimal)\(\s*"([A-Z_]+)"', source))


def settings_explained() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE))


def test_every_setting_is_explained_and_nothing_else_is() -> None:
    assert settings_read() == settings_explained()
