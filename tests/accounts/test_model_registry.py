"""What providers list of their models, and what becomes of models that leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from pytest_django import Settings

from chat.accounts import model_registry
from chat.accounts.model_access import list_allowed_models
from chat.accounts.model_registry import (
    describe_models,
    find_capabilities,
    is_retired,
    keep_list,
    list_offered_models,
    list_retirement_notices,
)
from chat.generation import model_lists
from chat.generation.process import get_runner
from chat.models import User
from chat.providers.model_lists import MAX_MODELS, list_chat_models, read_entries, read_fields
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

TODAY = date(2026, 11, 28)
YES, NO = {"supported": True}, {"supported": False}
SONNET, OPUS = "anthropic:claude-sonnet-4-5", "anthropic:claude-opus-4-1"


@pytest.fixture(autouse=True)
def lists() -> Iterator[None]:
    model_registry.forget_lists()
    yield
    model_registry.forget_lists()


@pytest.fixture
def own_servers(settings: Settings) -> None:
    settings.CHAT_PROVIDERS = {name: {**fields, "base_url": None} for name, fields in settings.CHAT_PROVIDERS.items()}


# What a list says


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ({"id": "m"}, {}),
        ({"max_input_tokens": 500_000, "max_tokens": 32_000}, {"context_window": 500_000, "longest_output": 32_000}),
        ({"max_model_len": 8_192}, {"context_window": 8_192}),
        ({"context_length": 65_536}, {"context_window": 65_536}),
        ({"shutdown_date": "2026-12-11"}, {"retires_on": date(2026, 12, 11)}),
        ({"shutdown_date": None}, {"retires_on": None}),
        ({"retires_at": "2027-01-02T03:04:05Z"}, {"retires_on": date(2027, 1, 2)}),
        ({"max_tokens": "many", "max_input_tokens": True, "retires_at": 5}, {}),
        ({"max_tokens": 1, "max_input_tokens": 10**400, "shutdown_date": "soon", "retires_at": ""}, {}),
        ({"max_tokens": -4_096, "context_length": 8_192.0, "max_model_len": "8192"}, {}),
        ({"lifecycle": "retired"}, {"retires_on": date.min}),
        (
            {"capabilities": {"image_input": YES, "pdf_input": NO, "structured_outputs": NO, "server_tools": YES}},
            {"images": True, "files": False, "schema": "tool", "server_tools": True},
        ),
        (
            {"capabilities": {"effort": {"supported": True, "low": YES, "max": YES, "high": NO}}},
            {"efforts": ("low", "max")},
        ),
        ({"capabilities": {"effort": {"supported": False}}}, {"efforts": ()}),
        (
            {"capabilities": {"thinking": {"supported": True, "types": {"adaptive": YES, "disabled": YES}}}},
            {"thinking": "adaptive"},
        ),
        (
            {"capabilities": {"thinking": {"supported": True, "types": {"adaptive": YES, "between_tools": YES}}}},
            {"thinking": "between_tools"},
        ),
        (
            {"capabilities": {"thinking": {"supported": True, "types": {"adaptive": YES, "disabled": NO}}}},
            {"thinking": "always"},
        ),
        ({"capabilities": {"thinking": {"supported": True, "types": {"enabled": YES}}}}, {"thinking": "budget"}),
        ({"capabilities": {"thinking": {"supported": False}}}, {"thinking": "none"}),
        ({"capabilities": {"thinking": "yes", "effort": [], "image_input": 1}}, {}),
        ({"capabilities": "all"}, {}),
    ],
)
def test_an_entry_of_a_model_list_becomes_capabilities(entry: dict[str, Any], fields: dict[str, Any]) -> None:
    assert read_fields(entry) == fields


@pytest.mark.parametrize("body", [None, 5, "x", {}, {"data": None}, {"data": [1, {"id": 5}, {"id": " "}]}, []])
def test_a_list_that_nobody_can_read_is_empty(body: object) -> None:
    assert read_entries(body) == {}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0", "a\u202eb", "\ud800", "x" * 151, 5, None, ["a"]])
def test_entries_without_a_usable_name_are_passed_over(name: object) -> None:
    assert list(read_entries({"data": [{"id": name}, {"id": "gpt-7"}]})) == ["gpt-7"]


def test_of_entries_with_one_name_the_last_counts_and_a_list_ends() -> None:
    twice = read_entries([{"id": "a", "max_tokens": 1_000}, {"id": "b"}, {"id": "a", "max_tokens": 2_000}])
    assert (list(twice), twice["a"]["max_tokens"]) == (["a", "b"], 2_000)
    assert len(read_entries({"data": [{"id": f"m{number}"} for number in range(5_000)]})) == MAX_MODELS


def test_models_that_answer_no_questions_are_not_offered() -> None:
    names = ["llama3.2:3b", "nomic-embed-text", "whisper-1", "gpt-6-luna", "gpt-image-2", "a b"]
    entries = read_entries({"data": [{"id": name} for name in names]})
    assert list_chat_models(entries) == ["llama3.2:3b", "gpt-6-luna"]


def test_a_list_wins_over_the_table_and_the_next_one_replaces_it(own_servers: None) -> None:
    keep_list("anthropic", {"claude-sonnet-5-5": {"max_tokens": 64_000}})
    assert find_capabilities("anthropic:claude-sonnet-5-5").longest_output == 64_000
    keep_list("anthropic", {"claude-opus-5-5": {}})
    assert find_capabilities("anthropic:claude-sonnet-5-5").longest_output == 128_000


async def test_providers_are_asked_in_the_background(site: Site, provider: ProviderServer, settings: Settings) -> None:
    await model_lists.ask_for_lists(get_runner().pool)
    assert not provider.requests
    assert is_retired(OPUS, TODAY)  # the server lists its models, and this is none of them


def test_without_told_models_a_server_of_ones_own_offers_what_it_lists(settings: Settings) -> None:
    settings.CHAT_MODELS = ["openai:gpt-6.1-terra", "anthropic:claude-sonnet-5-5"]
    settings.CHAT_LISTED_MODELS = {"openai": "openai:gpt-6.1-terra"}
    assert describe_models() == "the models that OPENAI_BASE_URL lists, anthropic:claude-sonnet-5-5"
    keep_list("openai", {"llama3.2:3b": {}, "qwen3": {}, "nomic-embed-text": {}})
    keep_list("anthropic", {"claude-x": {}})
    assert settings.CHAT_MODELS == ["openai:llama3.2:3b", "openai:qwen3", "anthropic:claude-sonnet-5-5"]
    assert describe_models() == ", ".join(settings.CHAT_MODELS)


# Models that leave


@pytest.mark.parametrize(
    ("model", "today", "words"),
    [
        (SONNET, date(2026, 9, 30), None),
        (SONNET, date(2026, 10, 1), "will be retired on 30 November 2026"),
        (SONNET, date(2026, 11, 29), "will be retired on 30 November 2026"),
        (SONNET, date(2026, 11, 30), "was retired on 30 November 2026"),
        (
            "openai:gpt-5-mini",
            TODAY,
            "will be retired on 11 December 2026. Its provider recommends openai:gpt-6.1-terra.",
        ),
        ("anthropic:claude-sonnet-5-5", TODAY, None),
        ("demo:tour", TODAY, None),
    ],
)
def test_a_configured_model_that_leaves_is_spoken_of_sixty_days_before(
    own_servers: None, settings: Settings, model: str, today: date, words: str | None
) -> None:
    settings.CHAT_MODELS = [model]
    sentences = [notice.sentence for notice in list_retirement_notices(today)]
    assert len(sentences) == (words is not None)
    assert words is None or words in sentences[0]


def test_a_date_that_the_provider_lists_counts(settings: Settings) -> None:
    settings.CHAT_MODELS = ["openai:gpt-6-luna"]
    keep_list("openai", {"gpt-6-luna": {"shutdown_date": "2026-12-08"}})
    assert [notice.day for notice in list_retirement_notices(TODAY)] == [date(2026, 12, 8)]


@pytest.mark.parametrize(
    ("offered", "substitute"),
    [
        (["openai:gpt-6-luna"], "openai:gpt-6.1-terra"),
        (["openai:gpt-6-luna", "openai:gpt-6-sol"], "openai:gpt-6-sol"),
        (["openai:gpt-6-luna", "anthropic:claude-sonnet-5-5"], "openai:gpt-6.1-terra"),
        (["openai:gpt-6-luna", "openai:gpt-5-mini"], "openai:gpt-6.1-terra"),
    ],
)
def test_where_no_successor_is_known_a_model_that_stays_is_named(
    own_servers: None, settings: Settings, offered: list[str], substitute: str
) -> None:
    settings.CHAT_MODELS = offered
    keep_list("openai", {"gpt-6-luna": {"shutdown_date": "2026-12-08"}})
    assert list_retirement_notices(TODAY)[0].sentence == (
        "openai:gpt-6-luna will be retired on 8 December 2026. "
        f"No successor is known; {substitute} could take its place."
    )


def test_another_server_may_serve_a_model_for_longer(settings: Settings) -> None:
    settings.CHAT_PROVIDERS = {"anthropic": {"api_key": "", "base_url": "http://localhost:8080"}}
    assert not is_retired(OPUS, TODAY)
    keep_list("anthropic", {"claude-opus-4-1": {}})
    assert not is_retired(OPUS, TODAY)
    keep_list("anthropic", {"claude-opus-5-5": {}})
    assert is_retired(OPUS, TODAY)


def test_retired_models_are_not_offered_and_a_site_without_any_gets_their_successors(
    db: None, own_servers: None, settings: Settings
) -> None:
    settings.CHAT_MODELS = [OPUS, "anthropic:claude-sonnet-5-5"]
    assert list_offered_models() == list_allowed_models(User()) == ["anthropic:claude-sonnet-5-5"]
    settings.CHAT_MODELS = [OPUS]
    assert list_offered_models() == ["anthropic:claude-opus-5-5"]
    settings.CHAT_MODEL_OPTIONS = {OPUS: {"retires_on": None}}
    assert list_offered_models() == [OPUS]


def test_the_system_check_warns(own_servers: None, settings: Settings) -> None:
    settings.CHAT_MODELS = [OPUS, "demo:tour"]
    assert [message.msg for message in run_checks() if message.id == "chat.W001"] == [
        "anthropic:claude-opus-4-1 was retired on 5 August 2026. Its provider recommends anthropic:claude-opus-5-5."
    ]


async def test_the_admin_is_told_on_the_index_and_in_model_health(
    site: Site, own_servers: None, settings: Settings
) -> None:
    settings.CHAT_MODELS = [OPUS, "demo:tour"]
    root = await sync_to_async(Site)(await sync_to_async(User.objects.create_superuser)("root", password="root"))
    for path in ("/admin/", "/admin/chat/modelhealth/"):
        page = (await root.get(path)).content.decode()
        assert "anthropic:claude-opus-4-1 was retired on 5 August 2026." in page
    rows = {row.partition("\n")[0].strip(): row for row in page.split('<th scope="row">\n')[1:]}
    assert "<strong>Retired</strong>" in rows[OPUS]
    assert "default" not in rows[OPUS]  # it is offered no more
    assert "default" in rows["demo:tour"]
    settings.CHAT_MODELS = ["demo:tour"]
    assert "retired" not in (await root.get("/admin/")).content.decode()


async def test_a_conversation_on_a_retired_model_goes_on_with_the_default_and_says_so_once(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    conversation = await site.begin_conversation()
    first = await site.ask("Hi", conversation, model=ANTHROPIC)
    settings.CHAT_MODEL_OPTIONS = {ANTHROPIC: {"retires_on": date(2026, 1, 1)}}
    second, third = [await site.ask("And?", conversation) for _ in range(2)]
    assert [answer["model"] for answer in (first, second, third)] == [ANTHROPIC, OPENAI, OPENAI]
    [notice] = second["notices"]
    assert notice["message"].startswith("messages-test has been retired by its provider.")
    assert third["notices"] == []
    page = (await site.get(f"/c/{conversation}/")).content.decode()
    assert page.count("has been retired by its provider") == 1


async def test_a_retired_model_is_not_one_that_was_not_found(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MODELS = [ANTHROPIC]
    settings.CHAT_MODEL_OPTIONS = {ANTHROPIC: {"retires_on": date(2026, 1, 1)}}
    provider.script = Script(status=404)
    answer = await site.ask("Hi", model=ANTHROPIC)
    assert answer["status"] == "interrupted"
    assert [notice["message"] for notice in answer["notices"]] == [
        "messages-test has been retired by its provider. Choose another model."
    ]
