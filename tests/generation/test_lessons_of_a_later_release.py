"""What a process of a later release has learnt of a model costs this one nothing: both run while a site is updated."""

from __future__ import annotations

import pytest
from django.test import Client

from chat.conversations.refusals import hash_server
from chat.models import Refusal, User
from tests.conftest import OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

pytestmark = pytest.mark.sqlite


async def test_a_question_is_answered(site: Site, provider: ProviderServer) -> None:
    await Refusal.objects.acreate(model=OPENAI, server=hash_server(OPENAI), kind="no_such_kind_yet")
    provider.script = Script(text="Forty-two.")
    answer = await site.ask("What is six times seven?", model=OPENAI)
    assert (answer["status"], answer["text"]) == ("complete", "Forty-two.")


@pytest.mark.django_db
def test_the_page_of_model_health_opens(client: Client) -> None:
    Refusal.objects.create(model=OPENAI, server=hash_server(OPENAI), kind="no_such_kind_yet")
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/admin/chat/modelhealth/").status_code == 200
