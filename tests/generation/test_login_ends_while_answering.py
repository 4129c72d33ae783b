"""An answer ends with the login that asked for it, within 30 s; a log-out in one browser ends nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import AsyncClient

from chat.accounts.visitors import find_ended_logins
from chat.generation import supervisor
from chat.models import ApiToken, Message, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("endless")

LOOKS: list[Any] = []


@pytest.fixture
def endless(provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that goes on for minutes, and a supervisor that looks at logins more often than every 10 s."""
    provider.script = Script(text="word " * 20_000, chunk_size=5, delay_between=0.02)
    monkeypatch.setattr(supervisor, "CHECK_LOGINS_EVERY", 0.2)

    def count_look(*arguments: Any) -> Any:
        LOOKS.append(arguments)
        return find_ended_logins(*arguments)

    monkeypatch.setattr("chat.generation.supervisor.find_ended_logins", count_look)


async def wait_until_login_ends_answer(site: Site, answer: str) -> None:
    """Wait until the answer ends; assert that it is interrupted with `login_ended` and keeps the text that had come."""

    async def is_over() -> bool:
        return (await read_answer(answer))["status"] not in {"queued", "streaming"}

    await wait_until(is_over)
    found = await read_answer(answer)
    assert (found["status"], found["error_code"]) == ("interrupted", "login_ended")
    assert found["text"].startswith("word ")


async def check_that_answer_goes_on(answer: str) -> None:
    """Wait for three more looks at the logins, as the first may have begun already; assert that the answer is live."""
    looks = len(LOOKS)
    await wait_until(lambda: len(LOOKS) > looks + 2)
    assert (await read_answer(answer))["status"] in {"queued", "streaming"}


async def read_answer(answer: str) -> dict[str, Any]:
    found = await Message.objects.values("status", "error_code", "text").aget(pk=answer)
    return dict(found)


async def begin_by_page(client: AsyncClient) -> str:
    response: Any = await client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    assert response.status_code == 200, response.content
    answer = str((await Message.objects.live().aget()).pk)
    await wait_for_text(answer)
    return answer


async def begin_by_token(user: User) -> tuple[str, ApiToken]:
    token = await sync_to_async(ApiToken.issue)(user, "program")
    program, headers = AsyncClient(), {"authorization": f"Bearer {token}", "prefer": "respond-async"}
    made: Any = await program.post("/api/conversations/", headers=headers)
    path = f"/api/conversations/{json.loads(made.content)['id']}/messages/"
    asked: Any = await program.post(path, {"content": "Hello"}, content_type="application/json", headers=headers)
    answer = str(json.loads(asked.content)["answer"])
    await wait_for_text(answer)
    return answer, await ApiToken.objects.aget(user=user)


async def wait_for_text(answer: str) -> None:
    async def has_text() -> bool:
        return bool((await read_answer(answer))["text"])

    await wait_until(has_text)


async def open_another_browser(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    return client


@pytest.mark.parametrize("asked_by", ["page", "token"])
async def test_a_user_who_is_deactivated(site: Site, user: User, asked_by: str) -> None:
    answer = await begin_by_page(site.client) if asked_by == "page" else (await begin_by_token(user))[0]
    await check_that_answer_goes_on(answer)
    began = time.monotonic()
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)
    await wait_until_login_ends_answer(site, answer)
    assert time.monotonic() - began < 30


async def test_a_token_that_is_revoked(site: Site, user: User) -> None:
    answer, token = await begin_by_token(user)
    await token.adelete()
    await wait_until_login_ends_answer(site, answer)


async def test_a_token_that_others_have_is_another_one(site: Site, user: User) -> None:
    answer, token = await begin_by_token(user)
    await sync_to_async(ApiToken.issue)(user, "another")
    await ApiToken.objects.exclude(pk=token.pk).adelete()
    await Session.objects.all().adelete()
    await check_that_answer_goes_on(answer)


async def test_a_password_that_is_changed_ends_every_session(site: Site, user: User) -> None:
    answer = await begin_by_page(site.client)
    await open_another_browser(user)
    user.set_password("analytical-engine")
    await user.asave()
    await wait_until_login_ends_answer(site, answer)


async def test_sessions_that_are_all_deleted(site: Site, user: User) -> None:
    answer = await begin_by_page(site.client)
    await open_another_browser(await User.objects.acreate_user("eve"))
    await Session.objects.exclude(pk=(await find_session_of_another_user(user))).adelete()
    await wait_until_login_ends_answer(site, answer)


async def find_session_of_another_user(user: User) -> str:
    """Return the key of the session that is not this user's."""
    async for session in Session.objects.all():
        if session.get_decoded()["_auth_user_id"] != str(user.pk):
            return str(session.pk)
    raise AssertionError("there is none")


async def test_a_log_out_in_one_browser_ends_nothing_until_the_last_one(site: Site, user: User) -> None:
    other = await open_another_browser(user)
    answer = await begin_by_page(site.client)
    await site.client.post("/accounts/logout/")
    await check_that_answer_goes_on(answer)
    await other.post("/accounts/logout/")
    await wait_until_login_ends_answer(site, answer)


async def test_changing_the_password_in_the_same_session_ends_no_answer(site: Site, user: User) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_staff=True)
    answer = await begin_by_page(site.client)
    form = {"old_password": "lovelace", "new_password1": "analytical-engine", "new_password2": "analytical-engine"}
    assert (await site.client.post("/admin/password_change/", form)).status_code == 302
    await check_that_answer_goes_on(answer)


async def test_others_go_on(site: Site, user: User) -> None:
    eve = await User.objects.acreate_user("eve")
    answer = await begin_by_page(await open_another_browser(eve))
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)
    await check_that_answer_goes_on(answer)
