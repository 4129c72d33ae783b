"""What is taken away, brought to another user and taken away again is equal, whatever tree it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chat.conversations.exchange.database_reader import load_conversation
from chat.conversations.exchange.database_writer import keep_conversation
from chat.conversations.exchange.json_form import read_document, write_document
from chat.conversations.exchange.markdown_form import write_markdown
from chat.conversations.exchange.portable import Figures, PortableConversation, PortableMessage, Source, UnreadableError
from chat.core.errors import CODES
from chat.core.events import (
    Continued,
    Lasting,
    Reasoning,
    Remark,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    Usage,
)
from chat.core.transcript import Transcript
from chat.models import Conversation, Message, User
from tests.support.server import ROOT

BEGUN = datetime(2025, 3, 1, 12, tzinfo=UTC)

words = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufdd0"), max_size=12)
some_words = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufdd0"), min_size=1, max_size=12)
moments = st.integers(0, 10**9).map(lambda microseconds: BEGUN + timedelta(microseconds=microseconds))
counts = st.integers(0, 2**31 - 1)
ids = st.sampled_from(["a", "b"])

parts: st.SearchStrategy[Lasting] = st.one_of(
    st.builds(Token, some_words),
    st.builds(Reasoning, some_words),
    st.builds(Thought, counts),
    st.builds(ToolCall, ids, st.just("clock")),
    st.builds(ToolArguments, ids, some_words),
    st.builds(ToolResult, ids, words, st.booleans(), counts),
    st.builds(Remark, st.sampled_from(["adapted", "empty", "refused", "fallback"]), words),
    st.just(Continued()),
)
usages = st.builds(Usage, counts, counts, counts, counts, estimated=st.booleans(), searches=counts)
ratings = st.fixed_dictionaries(
    {
        "value": st.sampled_from(["up", "down"]),
        "comment": words,
        "consent": st.booleans(),
        "at": moments.map(datetime.isoformat),
    }
)
figures = st.builds(
    Figures,
    st.none() | usages,
    st.tuples(counts, counts, st.sampled_from(["", "timeout"])),
    st.none() | ratings,
)
ends = st.sampled_from([("complete", ""), ("stopped", ""), *(("interrupted", code) for code in CODES)])


@st.composite
def trees(draw: st.DrawFn) -> list[PortableMessage]:
    """Draw the messages of a tree, in the order of their times; some are of one moment."""
    messages: list[PortableMessage] = []
    at = BEGUN
    for number in range(1, draw(st.integers(0, 10)) + 1):
        at += timedelta(microseconds=draw(st.sampled_from([0, 0, 1, 10**6])))
        questions = [message.number for message in messages if message.is_question]
        answers = [None, *(message.number for message in messages if not message.is_question)]
        if not questions or draw(st.booleans()):
            messages.append(PortableMessage(number, draw(st.sampled_from(answers)), "user", at, text=draw(words)))
            continue
        transcript = Transcript()
        transcript.append(draw(st.lists(parts, max_size=6)))
        status, code = draw(ends)
        messages.append(
            PortableMessage(
                number,
                draw(st.sampled_from(questions)),
                "assistant",
                at,
                parts=transcript.read_since(0),
                status=status,  # type: ignore[arg-type]  # of the statuses
                error_code=code,
                finish_reason=draw(st.sampled_from(["", "stop", "length"])),
                model=draw(st.sampled_from(["", "openai:gpt-5", "anthropic:claude"])),
                effort=draw(st.sampled_from(["", "high"])),
                omitted=draw(st.integers(0, 9)),
                response_schema=draw(st.none() | st.just({"type": "object", "properties": {"a": {"type": "string"}}})),
                finished_at=draw(st.none() | moments),
                figures=draw(figures),
            )
        )
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> PortableConversation:
    messages = draw(trees())
    shelf = draw(st.sampled_from(["", "pinned", "archived"]))
    return PortableConversation(
        source=Source(draw(st.sampled_from(["chatsite", "chatgpt", "claude"])), str(uuid4())),
        title=draw(words),
        created_at=draw(moments),
        updated_at=draw(moments),
        messages=messages,
        leaf=draw(st.sampled_from([None, *(message.number for message in messages)])),
        system_prompt=draw(words),
        temperature=draw(st.none() | st.floats(0, 2)),
        max_tokens=draw(st.none() | st.integers(1, 2**31 - 1)),
        effort=draw(st.sampled_from(["", "high"])),
        titled_by=draw(st.sampled_from(["", "rule", "model", "user"])),
        pinned_at=BEGUN if shelf == "pinned" else None,
        archived_at=BEGUN if shelf == "archived" else None,
    )


@pytest.mark.django_db
@given(conversations())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_conversation_exported_imported_and_exported_again_is_equal(
    transactional_db: None, portable: PortableConversation
) -> None:
    bob, _ = User.objects.get_or_create(username="bob")
    eve, _ = User.objects.get_or_create(username="eve")
    first = json.loads(json.dumps(write_document(portable)))
    kept = keep_conversation(bob, read_document(first))
    assert kept is not None
    second = write_document(load_conversation(Conversation.objects.get(pk=kept.pk)))
    assert (second["leaf"] is None) == (not portable.messages)  # or nothing of it would be shown
    if portable.source.site == "chatsite" or portable.title:
        assert second == (first if portable.leaf else {**first, "leaf": second["leaf"]})
    brought = keep_conversation(eve, read_document(json.loads(json.dumps(second))))
    assert brought is not None
    assert write_document(load_conversation(Conversation.objects.get(pk=brought.pk))) == second
    assert not Message.objects.filter(conversation=brought, status__in=("queued", "streaming")).exists()
    write_markdown(portable)
    Conversation.objects.all().delete()


def find_schema() -> dict[str, Any]:
    """Return the schema that docs/export.md has."""
    text = (ROOT / "docs" / "export.md").read_text()
    found: dict[str, Any] = json.loads(text.rpartition("```json\n")[2].partition("```")[0])
    return found


def test_the_schema_of_the_docs_is_kept_to() -> None:
    validator = Draft202012Validator(find_schema())

    @given(conversations())
    @settings(max_examples=30, deadline=None)
    def check(portable: PortableConversation) -> None:
        validator.validate(json.loads(json.dumps(write_document(portable))))

    check()


def make_document() -> dict[str, Any]:
    question = PortableMessage(1, None, "user", BEGUN, text="Q")
    answer = PortableMessage(2, 1, "assistant", BEGUN, parts=[Token("A"), ToolCall("a", "clock")], model="openai:m")
    portable = PortableConversation(Source("chatsite", "x"), "T", BEGUN, BEGUN, [question, answer], leaf=2)
    return json.loads(json.dumps(write_document(portable)))  # type: ignore[no-any-return]  # an object, as it was


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in list_places(each, (*path, key)))]


def test_a_document_of_wrong_types_is_refused_and_nothing_else_happens() -> None:
    """Each value in turn is replaced by one of each other type: it is read, or refused with a sentence."""
    refused: list[str] = []
    for place in list_places(make_document()):
        for wrong in (None, True, -1, 3.5, 10**30, "x", [], [1], {}, {"a": 1}, float("nan")):
            document: Any = {"": make_document()}
            inner = document
            for key in ("", *place)[:-1]:
                inner = inner[key]
            inner[("", *place)[-1]] = wrong
            try:
                read_document(document[""])
            except UnreadableError as error:
                refused.append(str(error))
    assert len(refused) > 200
    assert all(sentence.endswith(".") for sentence in refused)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "`format`"),
        ({"leaf": 9}, "`leaf`"),
        ({"messages": [{"id": 1, "parent": 1, "role": "user", "created_at": 0, "text": ""}]}, "circle"),
        ({"messages": [{"id": 1, "parent": 7, "role": "user", "created_at": 0, "text": ""}]}, "missing"),
        ({"messages": [{"id": 1, "parent": None, "role": "user", "created_at": 0, "text": ""}] * 2}, "Two messages"),
        ({"messages": [{"id": 1, "role": "assistant", "status": "complete", "created_at": 0}]}, "no question"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        read_document({**make_document(), **({"leaf": None} | change)})


def test_a_document_that_names_no_leaf_shows_the_branch_that_was_written_last() -> None:
    days = ((1, None, 1), (2, None, 3), (3, 1, 2), (4, 2, 2))
    messages = [
        {"id": number, "parent": parent, "role": "user", "created_at": f"2026-01-0{day}T00:00:00+00:00", "text": ""}
        for number, parent, day in days
    ]
    found = read_document({**make_document(), "leaf": None, "messages": messages})
    assert [message.number for message in found.list_branch()] == [2, 4]


def test_text_of_a_document_is_made_storable() -> None:
    document = make_document()
    document["messages"][0]["text"] = "a\0b\ud800c"
    document["messages"][1]["parts"] = [{"type": "token", "content": "x\0\ufdd0y"}]
    found = read_document(document)
    assert (found.messages[0].text, found.messages[1].answer_text) == ("a\ufffdb\ufffdc", "x\ufffd\ufffdy")


def test_what_goes_to_providers_later_is_what_they_take() -> None:
    document = make_document()
    document["settings"]["effort"] = "colossal"
    document["messages"][1]["parts"] = [{"type": "tool_call", "id": "a b", "name": "x.y\n"}]
    found = read_document(document)
    assert found.messages[1].parts == [ToolCall("a_b", "x_y_")]
    assert (found.effort, found.left_out) == ("", {"effort that this site does not know": 1})


def test_a_date_in_the_future_becomes_now() -> None:
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    assert read_document({**make_document(), "updated_at": later}).updated_at <= datetime.now(UTC)
