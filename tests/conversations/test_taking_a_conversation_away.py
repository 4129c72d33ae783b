"""A conversation is taken away as Markdown, as JSON with all its branches, or as a page for paper."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone

from chat.core.events import Reasoning, Remark, Thought, Token, ToolArguments, ToolCall, ToolResult
from chat.core.transcript import Transcript
from chat.models import Conversation, Message, ProviderCall, Rating, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


def make_conversation(user: User) -> Conversation:
    """Make a conversation with two wordings of its question, two attempts, a tool, and an answer that broke off."""
    made = Conversation.objects.create(user=user, title="Tides & <moons>", system_prompt="Be brief.", temperature=0.5)

    def say(role: str, parent: Message | None, **fields: Any) -> Message:
        return Message.objects.create(conversation=made, role=role, parent=parent, **fields)

    first = say("user", None, text="Why tides?")
    say("assistant", first, text="The moon.", position=9, status="complete", finish_reason="stop", model="openai:a")
    transcript = Transcript()
    transcript.append(
        [
            Reasoning("Let me see."),
            Thought(2000),
            Token("I look."),
            ToolCall("c1", "clock"),
            ToolArguments("c1", '{"zone": "UTC"}'),
            ToolResult("c1", "12:00", ok=True, milliseconds=3),
            Token("It is **noon**."),
            Remark("adapted", "Without a temperature."),
        ]
    )
    shown = say(
        "assistant",
        first,
        text=transcript.text,
        reasoning=transcript.reasoning,
        outline=transcript.outline,
        position=transcript.position,
        status="complete",
        model="anthropic:b",
        finished_at=timezone.now(),
    )
    shown.tool_calls.create(
        call_id="c1", name="clock", arguments='{"zone": "UTC"}', result="noon", ok=True, finished_at=timezone.now()
    )
    ProviderCall.objects.create(user=user, answer=shown, model="anthropic:b", input_tokens=7, output_tokens=5)
    Rating.objects.create(answer=shown, user=user, value="up", comment="Right.", model="anthropic:b")
    second = say("user", shown, text="And <b>now</b>?")
    say("user", None, text="Why do tides come?")
    last = say("assistant", second, text="Half an", position=7, status="interrupted", error_code="timeout")
    Conversation.objects.filter(pk=made.pk).update(leaf=last)
    made.refresh_from_db()
    return made


async def read(response: HttpResponse | StreamingHttpResponse) -> str:
    assert response.status_code == 200, response
    if isinstance(response, StreamingHttpResponse):
        return b"".join([chunk async for chunk in response]).decode()
    return response.content.decode()


@pytest.fixture
async def conversation(user: User) -> Conversation:
    return await sync_to_async(make_conversation)(user)


async def test_json_has_all_branches_with_their_figures(site: Site, conversation: Conversation) -> None:
    response = await site.get(f"/c/{conversation.pk}/export.json")
    found = json.loads(await read(response))
    assert (found["format"], found["version"]) == ("chatsite.conversation", 1)
    assert found["source"] == {"site": "chatsite", "id": str(conversation.pk)}
    assert found["settings"] == {"system_prompt": "Be brief.", "temperature": 0.5, "max_tokens": None, "effort": ""}
    messages = {message["id"]: message for message in found["messages"]}
    assert [(message["role"], message["parent"]) for message in messages.values()] == [
        ("user", None),
        ("assistant", 1),
        ("assistant", 1),
        ("user", 3),
        ("user", None),
        ("assistant", 4),
    ]
    shown, last = messages[3], messages[found["leaf"]]
    assert [part["type"] for part in shown["parts"]] == [
        *("reasoning", "thought", "token", "tool_call", "tool_arguments", "tool_result", "token", "remark")
    ]
    assert shown["tool_calls"][0]["result"] == "noon"
    assert (shown["usage"]["input_tokens"], shown["rating"]["comment"]) == (7, "Right.")
    assert (last["status"], last["error"], last["usage"]) == ("interrupted", "timeout", None)
    assert 'filename="' in response.headers["Content-Disposition"]


async def test_markdown_has_the_branch_that_is_shown(site: Site, conversation: Conversation) -> None:
    found = await read(await site.get(f"/c/{conversation.pk}/export.md"))
    assert found.startswith("# Tides & \\<moons\\>\n")
    assert "The moon." not in found
    assert "Why do tides come?" not in found
    order = [
        *("Be brief.", "Why tides?", "Let me see.", "I look.", "Tool clock", "12:00", "It is **noon**."),
        *("*Without a temperature.*", "And <b>now</b>?", "Half an", "*Interrupted: The model stopped responding"),
    ]
    places = [found.index(words) for words in order]
    assert places == sorted(places)


async def test_the_page_for_paper_has_all_turns_and_no_button(site: Site, conversation: Conversation) -> None:
    found = await read(await site.get(f"/c/{conversation.pk}/print/"))
    for words in ("Tides &amp; &lt;moons&gt;", "Why tides?", "<strong>noon</strong>", "And &lt;b&gt;now&lt;/b&gt;?"):
        assert words in found
    assert "The moon." not in found
    assert not any(tag in found for tag in ("<button", "<form", "<script", "hx-"))


async def test_a_page_for_paper_is_as_long_as_its_branch(site: Site, user: User) -> None:
    made = await Conversation.objects.acreate(user=user)
    parent = None
    for number in range(33):
        question = await Message.objects.acreate(conversation=made, role="user", parent=parent, text=f"q{number};")
        parent = await Message.objects.acreate(conversation=made, role="assistant", parent=question, text=f"a{number};")
    await Conversation.objects.filter(pk=made.pk).aupdate(leaf=parent)
    found = await read(await site.get(f"/c/{made.pk}/print/"))
    places = [found.index(f"{who}{number};") for number in range(33) for who in "qa"]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("accept", "kind", "beginning"),
    [
        ("", "application/json", "{"),
        ("*/*", "application/json", "{"),
        ("text/markdown", "text/markdown", "# Tides"),
        ("text/html, text/markdown;q=0.5", "text/html", "<!DOCTYPE html>"),
    ],
)
async def test_a_program_has_it_in_the_form_that_it_accepts(
    site: Site, conversation: Conversation, accept: str, kind: str, beginning: str
) -> None:
    response = await site.get(f"/api/conversations/{conversation.pk}/export/", accept=accept or "*/*")
    assert response.headers["Content-Type"].partition(";")[0] == kind
    assert (await read(response)).lstrip().startswith(beginning)


async def test_a_program_that_accepts_nothing_of_this_is_told_so(site: Site, conversation: Conversation) -> None:
    response = await site.get(f"/api/conversations/{conversation.pk}/export/", accept="image/png")
    assert (response.status_code, json.loads(response.content)["error"]["code"]) == (406, "not_acceptable")


async def test_an_answer_that_is_still_written_is_taken_as_far_as_it_has_come(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="One two three.", chunk_size=4, gate_after=4)
    conversation = await site.begin_conversation()
    answer = await site.begin(conversation=conversation)
    found = json.loads(await read(await site.get(f"/c/{conversation}/export.json")))
    assert found["messages"][-1]["status"] in ("queued", "streaming")
    assert "Still being written." in await read(await site.get(f"/c/{conversation}/export.md"))
    assert "Still being written." in await read(await site.get(f"/c/{conversation}/print/"))
    provider.release()
    await site.stop(answer)
