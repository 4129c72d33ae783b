"""Selections of the usage review are kept under a name, each administrator's for themselves."""

from __future__ import annotations

import pytest
from django.test import Client

from chat.models import SavedSelection, User

KEEP = "/admin/usage/saved/"


@pytest.fixture
def desk(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_selection_is_kept_and_found_again(desk: Client) -> None:
    response = desk.post(KEEP, {"name": "Demo", "query": "period=30&model=demo%3Atour&page=3&next=//evil.example"})
    assert response.headers["Location"] == "/admin/usage/?period=30&model=demo%3Atour"
    html = desk.get("/admin/usage/").content.decode()
    assert 'href="/admin/usage/?period=30&amp;model=demo%3Atour">Demo</a>' in html


def test_a_selection_saved_under_the_same_name_replaces_the_first(desk: Client) -> None:
    for period in ("7", "30"):
        desk.post(KEEP, {"name": "Mine", "query": f"period={period}"})
    assert list(SavedSelection.objects.values_list("query", flat=True)) == ["period=30"]


@pytest.mark.parametrize("name", ["", " ", "x" * 61])
def test_a_name_that_cannot_be_kept_leaves_the_selection_as_it_was(desk: Client, name: str) -> None:
    response = desk.post(KEEP, {"name": name, "query": "period=30"}, follow=True)
    assert response.redirect_chain[0][0] == "/admin/usage/?period=30"
    assert "errorlist" in response.content.decode() or 'class="error"' in response.content.decode()
    assert not SavedSelection.objects.exists()


def test_nobody_sees_or_deletes_the_selections_of_another(desk: Client) -> None:
    other = User.objects.create_superuser("other")
    kept = SavedSelection.objects.create(owner=other, name="Secret plan", query="period=7")
    assert "Secret plan" not in desk.get("/admin/usage/").content.decode()
    assert desk.post(f"{KEEP}{kept.pk}/forget/").status_code == 404
    assert SavedSelection.objects.filter(pk=kept.pk).exists()


def test_a_saved_selection_can_be_deleted(desk: Client) -> None:
    desk.post(KEEP, {"name": "Mine", "query": ""})
    kept = SavedSelection.objects.get()
    assert desk.post(f"{KEEP}{kept.pk}/forget/").status_code == 302
    assert not SavedSelection.objects.exists()


def test_only_those_who_read_the_ledger_keep_selections(db: None, client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.post(KEEP, {"name": "Mine", "query": ""}).status_code == 403
    assert client.get(KEEP).status_code == 405
