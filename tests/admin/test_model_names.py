"""Where a row is of one model, the admin offers the names that it knows, and points out one that it does not."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from chat.models import ModelAccess, User


@pytest.fixture
def desk(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("page", ["modelaccess", "modelprice"])
def test_known_models_are_offered(desk: Client, settings: Settings, page: str) -> None:
    html = desk.get(f"/admin/chat/{page}/add/").content.decode()
    for model in settings.CHAT_MODELS:
        assert f'<option value="{model}">' in html
    assert 'list="known-model"' in html


def test_an_unknown_name_is_kept_and_pointed_out(desk: Client) -> None:
    response = desk.post("/admin/chat/modelaccess/add/", {"model": "openai:gtp-6", "groups": []}, follow=True)
    assert "The site has no model openai:gtp-6" in response.content.decode()
    assert ModelAccess.objects.filter(model="openai:gtp-6").exists()


def test_a_known_name_is_kept_without_a_word(desk: Client, settings: Settings) -> None:
    response = desk.post("/admin/chat/modelaccess/add/", {"model": settings.CHAT_MODELS[0], "groups": []}, follow=True)
    assert "The site has no model" not in response.content.decode()
