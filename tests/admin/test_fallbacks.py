"""Chains of models are set in the admin, from the models that the site has."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from chat.accounts.model_fallbacks import find_chain
from chat.models import ModelFallback, User

PAGE = "/admin/chat/modelfallback/"
FIRST, SECOND, THIRD = "openai:gpt-test", "anthropic:messages-test", "demo:tour"


@pytest.fixture
def admin(db: None, settings: Settings) -> Client:
    settings.CHAT_MODELS = [FIRST, SECOND, THIRD]
    settings.CHAT_FALLBACKS = {FIRST: [THIRD]}
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_lines_are_a_chain_that_counts_before_the_setting(admin: Client) -> None:
    assert find_chain(FIRST) == [THIRD]
    fields = {"model": FIRST, "chain": f" {SECOND} \r\n\r\n{THIRD}\r\n"}
    assert admin.post(f"{PAGE}add/", fields).status_code == 302
    assert find_chain(FIRST) == [SECOND, THIRD]
    assert f"{SECOND} &gt; {THIRD}" in admin.get(PAGE).content.decode()
    row = ModelFallback.objects.get()
    assert f"{SECOND}\n{THIRD}</textarea>" in admin.get(f"{PAGE}{row.pk}/change/").content.decode()
    assert admin.post(f"{PAGE}{row.pk}/change/", {"model": FIRST, "chain": ""}).status_code == 302
    assert find_chain(FIRST) == []


@pytest.mark.parametrize(
    ("chain", "sentence"),
    [
        ("openai:gone", "The site has no openai:gone."),
        (FIRST, "Name each model once"),
        (f"{SECOND}\n{SECOND}", "Name each model once"),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(admin: Client, chain: str, sentence: str) -> None:
    response = admin.post(f"{PAGE}add/", {"model": FIRST, "chain": chain})
    assert response.status_code == 200
    assert sentence in response.content.decode()
    assert not ModelFallback.objects.exists()
