"""What the table of model families says, and which layer wins over which."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime

import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS  # type: ignore[attr-defined]  # not its own
from openai.types.shared import chat_model

from chat.providers.capabilities import EFFORTS, Capabilities
from chat.providers.model_families import DEFAULT_MODELS
from chat.providers.model_options import ModelOptionError, read_options
from chat.providers.model_table import CapabilityRegistry, find_capabilities, is_own_server

FIVE = ("low", "medium", "high", "xhigh", "max")
FOUR = ("low", "medium", "high", "max")
THREE = ("low", "medium", "high")

# model: thinking, efforts, its default, sampling, forced tools, prefill, schema, window, longest output
ANTHROPIC = {
    "claude-fable-5-2": ("always", FIVE, "high", False, False, False, "native", 1_000_000, 128_000),
    "claude-mythos-5-2": ("always", FIVE, "high", False, False, False, "native", 1_000_000, 128_000),
    "claude-fable-5": ("always", FIVE, "high", False, False, False, "native", 1_000_000, 128_000),
    "claude-opus-5-5": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "claude-sonnet-5-5": ("between_tools", FIVE, "high", False, False, False, "native", 1_000_000, 128_000),
    "claude-haiku-5-5": ("adaptive", FIVE, "medium", False, True, False, "native", 1_000_000, 128_000),
    "claude-opus-5": ("adaptive", FIVE, "high", False, True, False, "native", 1_000_000, 128_000),
    "claude-sonnet-5": ("adaptive", FIVE, "high", False, True, False, "native", 1_000_000, 128_000),
    "claude-opus-4-8": ("adaptive", FIVE, "high", False, True, False, "native", 1_000_000, 128_000),
    "claude-opus-4-7": ("adaptive", FIVE, "high", False, True, False, "native", 1_000_000, 128_000),
    "claude-opus-4-6": ("adaptive", FOUR, "high", True, True, False, "native", 1_000_000, 128_000),
    "claude-sonnet-4-6": ("adaptive", FOUR, "high", True, True, False, "native", 1_000_000, 128_000),
    "claude-opus-4-5-20251101": ("budget", THREE, "high", True, True, True, "native", 200_000, 64_000),
    "claude-haiku-4-5": ("budget", (), "", True, True, True, "native", 200_000, 64_000),
    "claude-sonnet-4-5-20250929": ("budget", (), "", True, True, True, "native", 200_000, 64_000),
    # Others write the names otherwise.
    "anthropic.claude-sonnet-4-5-20250929-v1:0": ("budget", (), "", True, True, True, "native", 200_000, 64_000),
    "us.anthropic.claude-opus-5-5": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "claude-haiku-4-5@20251001": ("budget", (), "", True, True, True, "native", 200_000, 64_000),
    "anthropic/claude-opus-4.8": ("adaptive", FIVE, "high", False, True, False, "native", 1_000_000, 128_000),
    "us-gov.anthropic.claude-opus-5-5-20260901-v1:0": (
        *("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    ),
    "CLAUDE-OPUS-5-5": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "claude-opus-5-5@default": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "claude-opus-5-5-latest": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "claude-opus-5-5[1m]": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    "anthropic/claude-opus-5.5:thinking": ("always", FIVE, "medium", False, False, False, "native", 1_000_000, 128_000),
    # Newer than the table, and no Claude at all.
    "claude-sonnet-6": ("always", THREE, "", False, False, False, "native", None, None),
    "us.anthropic.claude-sonnet-6-20270101-v1:0": ("always", THREE, "", False, False, False, "native", None, None),
    "llama-3.3-70b": ("budget", (), "", True, True, True, "tool", None, None),
}


@pytest.mark.parametrize("model", ANTHROPIC)
def test_the_capabilities_of_each_model_of_anthropic(model: str) -> None:
    takes = find_capabilities("anthropic", model)
    figures = (takes.thinking, takes.efforts, takes.default_effort, takes.sampling, takes.forced_tools, takes.prefill)
    assert (*figures, takes.schema, takes.context_window, takes.longest_output) == ANTHROPIC[model]
    assert takes.api == "messages"
    assert not takes.silent_thinking


SIX = ("none", *FIVE)

# model: thinking, efforts, its default, sampling, tools only without effort, window, longest output
OPENAI = {
    "gpt-6.2-astra": ("always", FIVE, "medium", False, True, 1_050_000, 128_000),
    "gpt-6.2-sol": ("always", FIVE, "medium", False, True, 1_050_000, 128_000),
    "gpt-6.1-sol": ("always", FIVE, "medium", False, True, 1_050_000, 128_000),
    "gpt-6-astra": ("always", FIVE, "medium", False, True, 1_050_000, 128_000),
    "gpt-6-sol": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "gpt-6.1-terra": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "gpt-6-luna": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "gpt-5.6-sol": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "gpt-5.5-2026-04-23": ("adaptive", SIX[:-1], "medium", False, True, 1_000_000, 128_000),
    "gpt-5.4": ("adaptive", SIX[:-1], "none", False, True, 1_050_000, 128_000),
    "gpt-5.4-mini-2026-03-17": ("adaptive", SIX[:-1], "none", False, True, 400_000, 128_000),
    "gpt-5.2": ("adaptive", SIX[:-1], "none", False, False, 400_000, 128_000),
    "gpt-5": ("always", ("minimal", *THREE), "medium", False, False, 400_000, 128_000),
    "o3": ("always", THREE, "medium", False, False, 200_000, 100_000),
    "gpt-4.1": ("none", (), "", True, False, 1_000_000, 32_768),
    "gpt-4o-2024-11-20": ("none", (), "", True, False, 128_000, 16_384),
    "openai/gpt-6.1-terra": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "gpt-6.3-terra": ("always", THREE, "medium", False, True, None, None),
    "gpt-7-sol": ("always", THREE, "medium", False, True, None, None),
    "gpt-7": ("always", THREE, "medium", False, True, None, None),
    "gpt-6.3-mini-2027-01-31": ("always", THREE, "medium", False, True, None, None),
    "GPT-10": ("always", THREE, "medium", False, True, None, None),
    "o5-mini": ("always", THREE, "medium", False, True, None, None),
    "gpt-7-chat-latest": ("none", (), "", True, False, None, None),
    "GPT-6.1-Terra-2026-10-01": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "openai/gpt-6.1-terra:online": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "ft:gpt-6.1-terra:acme:support:Ab1": ("adaptive", SIX, "medium", False, True, 1_050_000, 128_000),
    "ft:gpt-4.1-mini-2025-04-14:acme::abc": ("none", (), "", True, False, 1_000_000, 32_768),
    "gpt-35-turbo": ("none", (), "", True, False, 128_000, 4_096),
    # A deployment of Azure's may be called anything.
    "prod-terra": ("none", (), "", True, False, None, None),
    "llama3.2:3b": ("none", (), "", True, False, None, None),
}


@pytest.mark.parametrize("model", OPENAI)
def test_the_capabilities_of_each_model_of_openai(model: str) -> None:
    takes = find_capabilities("openai", model)
    figures = (takes.thinking, takes.efforts, takes.default_effort, takes.sampling, takes.tools_need_no_effort)
    assert (*figures, takes.context_window, takes.longest_output) == OPENAI[model]
    assert takes.api == "responses"
    assert takes.silent_thinking == (takes.thinking != "none")


@pytest.mark.parametrize(
    ("server", "api"),
    [
        ("", "responses"),
        ("https://api.openai.com/v1", "responses"),
        ("https://eu.api.openai.com/v1", "responses"),
        ("https://mine.openai.azure.com/openai/v1/", "responses"),
        ("http://localhost:11434/v1", "chat"),
        ("https://openai.com.example.org/v1", "chat"),
    ],
)
def test_other_servers_are_asked_over_chat_completions(server: str, api: str) -> None:
    assert find_capabilities("openai", "gpt-6.1-terra", server).api == api
    assert is_own_server("openai", server) == (api == "responses")


OPENROUTER = "https://openrouter.ai/api/v1"

# model: thinking, efforts, sampling, forced tools, window
GATEWAY = {
    "anthropic/claude-sonnet-5.5": ("none", (), False, False, 1_000_000),
    "anthropic/claude-opus-5.5:thinking": ("always", (), False, False, 1_000_000),
    "anthropic/claude-haiku-4.5": ("none", (), True, True, 200_000),
    "anthropic/claude-sonnet-6": ("always", (), False, False, None),
    "openai/gpt-6.1-terra": ("adaptive", SIX, False, True, 1_050_000),
    "openai/gpt-7": ("always", THREE, False, True, None),
    "openai/gpt-oss-120b:free": ("none", (), True, True, None),
    "models/gemini-3.5-pro": ("none", (), True, True, None),
}


@pytest.mark.parametrize("model", GATEWAY)
def test_a_gateway_knows_the_models_of_others_by_their_limits(model: str) -> None:
    """Of a Claude's parameters only those that every server of OpenAI's format has are asked for."""
    takes = find_capabilities("openai", model, OPENROUTER)
    assert (takes.thinking, takes.efforts, takes.sampling, takes.forced_tools, takes.context_window) == GATEWAY[model]
    assert (takes.api, takes.server_tools, takes.tools_need_no_effort) == ("chat", False, False)


def test_the_demo_and_an_unknown_model_are_asked_nothing_unusual() -> None:
    assert find_capabilities("demo", "markdown") == Capabilities(api="demo")
    assert find_capabilities("openai", "some-model", "http://localhost/v1") == Capabilities()


def test_every_date_of_the_anthropic_sdk_is_in_the_table() -> None:
    for model, said in DEPRECATED_MODELS.items():
        day = datetime.strptime(re.sub(r"(?<=\d)(st|nd|rd|th)", "", said), "%B %d, %Y").date()
        assert find_capabilities("anthropic", model).retires_on == day, model
        assert not find_capabilities("anthropic", find_capabilities("anthropic", model).successor).retires_on


def test_every_date_of_the_openai_sdk_is_in_the_table() -> None:
    """They stand in the source alone, as text below the list of models."""
    with open(str(chat_model.__file__), encoding="utf-8") as source:
        entries = re.split(r"\n- ", source.read())[1:]
    dated = 0
    for entry in entries:
        found = re.search(r"Announced shutdown\s+date:\s+(\d{4}-\d{2}-\d{2})", entry)
        if found is None:
            continue
        for model in re.findall(r'"([^"]+)"', entry[: found.start()]):
            if "audio" in model:
                continue
            dated += 1
            assert find_capabilities("openai", model).retires_on == date.fromisoformat(found[1]), model
    assert dated > 50


def test_the_defaults_are_served_and_take_everything_that_people_ask_for() -> None:
    for provider, model in DEFAULT_MODELS.items():
        takes = find_capabilities(provider, model)
        assert takes.retires_on is None
        assert takes.tools
        assert takes.images
        assert takes.efforts
        assert takes.longest_output == 128_000


def test_a_model_is_retired_from_its_last_day_on() -> None:
    takes = find_capabilities("anthropic", "claude-sonnet-4-5")
    assert takes.successor == "claude-sonnet-5-5"
    assert not takes.is_retired(date(2026, 11, 29))
    assert takes.is_retired(date(2026, 11, 30))


@pytest.mark.parametrize(
    ("model", "wish", "effort"),
    [
        ("claude-sonnet-5-5", "xhigh", "xhigh"),
        ("claude-opus-4-6", "xhigh", "high"),
        ("claude-opus-5-5", "none", "low"),
        ("claude-opus-4-5", "max", "high"),
        ("claude-haiku-4-5", "high", ""),
        ("claude-sonnet-5-5", "", ""),
        ("claude-sonnet-5-5", "sideways", ""),
    ],
)
def test_a_wish_becomes_the_nearest_effort_that_the_model_takes(model: str, wish: str, effort: str) -> None:
    assert find_capabilities("anthropic", model).choose_effort(wish) == effort


def test_a_model_that_thinks_in_any_case_has_room_for_it_in_a_title() -> None:
    assert find_capabilities("openai", "gpt-6.1-sol").reserve_for_thinking("none")
    assert find_capabilities("anthropic", "claude-opus-5-5").reserve_for_thinking("none")
    assert not find_capabilities("anthropic", "claude-opus-5-5").reserve_for_thinking("low")
    assert not find_capabilities("openai", "gpt-6.1-terra").reserve_for_thinking("none")


def test_a_temperature_is_taken_while_a_model_does_not_reason() -> None:
    terra = find_capabilities("openai", "gpt-6.1-terra")
    assert not terra.takes_sampling("")
    assert not terra.takes_sampling("low")
    assert terra.takes_sampling("none")
    assert find_capabilities("openai", "gpt-5.2").takes_sampling("")
    assert not find_capabilities("anthropic", "claude-sonnet-5-5").takes_sampling("none")


def test_efforts_are_known_words_in_their_order() -> None:
    for provider, models in (("anthropic", ANTHROPIC), ("openai", OPENAI)):
        for model in models:
            takes = find_capabilities(provider, model)
            assert list(takes.efforts) == [effort for effort in EFFORTS if effort in takes.efforts]
            assert takes.default_effort in ("", *takes.efforts)


def test_options_win_over_refusals_over_the_list_over_the_table() -> None:
    registry = CapabilityRegistry()
    model = ("anthropic", "claude-sonnet-5-5")
    assert registry.find_capabilities(*model).longest_output == 128_000
    registry.listed["anthropic", "", "claude-sonnet-5-5"] = {"longest_output": 100_000, "images": False}
    assert registry.find_capabilities(*model).longest_output == 100_000
    learnt = {"longest_output": 50_000, "tools": False}
    assert registry.find_capabilities(*model, learnt=learnt).longest_output == 50_000
    assert not registry.find_capabilities(*model, learnt=learnt).images
    registry = CapabilityRegistry({"anthropic:claude-sonnet-5-5": {"longest_output": 10}}, registry.listed)
    known = registry.find_capabilities(*model, learnt=learnt)
    assert (known.longest_output, known.tools, known.images, known.sampling) == (10, False, False, False)


@pytest.mark.parametrize("family", ["gpt-6.1-terra", "gpt-4.1", "gpt-4o"])
def test_a_deployment_with_a_name_of_its_own_is_asked_as_its_family(family: str) -> None:
    azure = "https://ours.openai.azure.com/openai/v1"
    registry = CapabilityRegistry({"openai:prod-chat": read_options("openai", {"family": family, "images": False})})
    expected = replace(find_capabilities("openai", family, azure), images=False)
    assert registry.find_capabilities("openai", "prod-chat", azure) == expected
    learnt = registry.find_capabilities("openai", "prod-chat", azure, {"prefill": False})
    assert learnt == replace(expected, prefill=False)


def test_what_one_server_lists_says_nothing_about_another() -> None:
    registry = CapabilityRegistry(listed={("openai", "http://a/v1", "m"): {"context_window": 8_000}})
    assert registry.find_capabilities("openai", "m", "http://a/v1").context_window == 8_000
    assert registry.find_capabilities("openai", "m", "http://b/v1").context_window is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"family": " "}, "'family' must be the name of a model"),
        ([], "must be an object"),
        ({"colour": "red"}, "'colour' is no option"),
        ({"api": "soap"}, "'api' must be one of responses, chat, messages, demo"),
        ({"thinking": None}, "'thinking' must be one of"),
        ({"efforts": "low"}, "'efforts' must be a list"),
        ({"efforts": ["low", "huge"]}, "'efforts' must be a list"),
        ({"sampling": "no"}, "'sampling' must be true or false"),
        ({"tools": 1}, "'tools' must be true or false"),
        ({"context_window": True}, "'context_window' must be a whole number"),
        ({"longest_output": 0}, "'longest_output' must be a whole number"),
        ({"longest_output": 1.5}, "'longest_output' must be a whole number"),
        ({"retires_on": "soon"}, "'retires_on' must be a date"),
        ({"retires_on": 5}, "'retires_on' must be a date"),
        ({"successor": 5}, "'successor' must be a text"),
        ({"context_window": 10**400}, "'context_window' must be a whole number from 1 to 100000000, or null"),
        ({"default_effort": "huge"}, "'default_effort' must be one of none, minimal, low"),
        ({"efforts": ["high", "low"], "default_effort": "max"}, "'default_effort' must be one of low, high"),
        ({"api": "messages"}, "'api' must be one of responses, chat with openai"),
        ({"api": ["chat"]}, "'api' must be one of responses, chat"),
    ],
)
def test_an_option_that_means_nothing_is_named(options: object, fault: str) -> None:
    with pytest.raises(ModelOptionError, match=re.escape(fault)):
        read_options("openai", options)


def test_options_are_read_as_the_fields_that_they_are() -> None:
    said = {
        "thinking": "budget",
        "efforts": ["high", "low"],
        "sampling": False,
        "context_window": None,
        "longest_output": 5,
        "retires_on": "2027-01-02",
        "successor": "x",
    }
    assert read_options("openai", said) == said | {"efforts": ("low", "high"), "retires_on": date(2027, 1, 2)}
