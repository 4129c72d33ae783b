"""`GET /api/models/` tells a program which models it may ask, and what is known of each."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from pytest_django import Settings

from chat.core.prices import Price
from chat.models import ModelAccess
from tests.support.site import Json, Site

TERRA, HAIKU, LOCAL = "openai:gpt-6.1-terra", "anthropic:claude-haiku-4-5", "openai:my-own"


@pytest.fixture
async def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_MODELS = [TERRA, HAIKU, LOCAL]
    settings.CHAT_MODEL_OPTIONS = {LOCAL: {"tools": False}, HAIKU: {"successor": "claude-haiku-5-5"}}
    settings.CHAT_PRICES = {LOCAL: Price(Decimal("0.25"), Decimal(2), Decimal(0))}
    settings.CHAT_CONTEXT_WINDOWS = {LOCAL: 8_000}
    return site


async def list_models_of(site: Site) -> list[Json]:
    response: Any = await site.get("/api/models/")
    assert response.status_code == 200
    said: list[Json] = json.loads(response.content)["models"]
    return said


async def test_each_model_has_its_window_its_prices_and_what_it_takes(site: Site) -> None:
    terra, haiku, local = await list_models_of(site)
    assert (terra["id"], terra["provider"], terra["name"]) == (TERRA, "openai", "gpt-6.1-terra")
    assert (terra["context_window"], terra["longest_output"]) == (1_050_000, 128_000)
    assert terra["levels"] == {"fast": "none", "balanced": "medium", "thorough": "max"}
    assert terra["efforts"] == ["none", "low", "medium", "high", "xhigh", "max"]
    assert terra["capabilities"] == {
        **dict.fromkeys(("thinking", "tools", "schema", "images", "files"), True),
        "temperature": False,
    }
    assert (haiku["efforts"], haiku["default_effort"], haiku["levels"]) == ([], None, {})
    assert (haiku["capabilities"]["temperature"], haiku["successor"]) == (True, "anthropic:claude-haiku-5-5")
    assert local["prices"] == {"input": 0.25, "output": 2}
    assert (local["context_window"], local["longest_output"], local["capabilities"]["tools"]) == (8_000, None, False)


async def test_only_what_the_user_may_ask_is_listed(site: Site) -> None:
    group = await Group.objects.acreate(name="Elsewhere")
    access = await ModelAccess.objects.acreate(model=TERRA)
    await access.groups.aset([group])
    assert [model["id"] for model in await list_models_of(site)] == [HAIKU, LOCAL]
    await site.user.groups.aset([group])
    assert [model["id"] for model in await list_models_of(site)] == [TERRA, HAIKU, LOCAL]


async def test_a_model_that_leaves_says_when(site: Site, settings: Settings) -> None:
    settings.CHAT_MODEL_OPTIONS = {LOCAL: {"retires_on": date(2099, 1, 2)}}
    assert [model["retires_on"] for model in await list_models_of(site)] == [None, None, "2099-01-02"]


async def test_a_stranger_and_another_method_are_refused(site: Site) -> None:
    assert (await site.post("/api/models/", {})).status_code == 405
    await site.client.alogout()
    assert (await site.get("/api/models/")).status_code == 401
