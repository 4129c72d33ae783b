"""Archives of ChatGPT and of Claude are brought in their real shapes: branches, tools, images, deleted parents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chat.conversations.exchange import chatgpt, claude
from chat.conversations.exchange.portable import PortableConversation, PortableMessage, UnreadableError, check_tree
from chat.core.events import Reasoning, Thought, Token, ToolArguments, ToolCall, ToolResult
from tests.support.archives import say

Json = dict[str, Any]


def read_chatgpt(*entries: Json, **fields: Any) -> PortableConversation:
    """Read a conversation of these entries; the first one's parent is the root."""
    mapping: Json = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    mapping |= {entry["id"]: entry for entry in entries}
    whole = {
        "title": "A title",
        "create_time": 1_700_000_000.5,
        "update_time": 1_700_000_900.0,
        "conversation_id": "c1",
    }
    found = chatgpt.read_conversation({**whole, "mapping": mapping, **fields})
    check_tree(found.messages)
    return found


def show(conversation: PortableConversation, number: int | None = None) -> list[str]:
    """Return the texts of the branch that ends with a message, or of the one that is shown."""
    if number is not None:
        conversation.leaf = number
    return [message.text if message.is_question else message.answer_text for message in conversation.list_branch()]


def list_branches(conversation: PortableConversation) -> list[list[str]]:
    parents = {message.parent for message in conversation.messages}
    ends = [message.number for message in conversation.messages if message.number not in parents]
    return [show(conversation, end) for end in ends]


def find_answer(conversation: PortableConversation) -> PortableMessage:
    [answer] = [message for message in conversation.messages if not message.is_question]
    return answer


# ChatGPT


def test_a_conversation_keeps_its_branches_dates_and_models() -> None:
    found = read_chatgpt(
        say("q", "root", "user", "Why?", ["a", "b"]),
        say("a", "q", "assistant", "Because.", metadata={"model_slug": "gpt-4o"}, create_time=1_700_000_010.5),
        say("b", "q", "assistant", "So.", ["r"], metadata={"model_slug": "gpt-5"}, create_time=1_700_000_020.0),
        say("r", "b", "user", "And?", ["c"]),
        say("c", "r", "assistant", "Then.", metadata={"model_slug": "gpt-5"}),
        say("w", "root", "user", "How?", ["d"]),
        say("d", "w", "assistant", "Thus."),
        current_node="a",
    )
    assert show(found) == ["Why?", "Because."]
    assert list_branches(found) == [["Why?", "Because."], ["Why?", "So.", "And?", "Then."], ["How?", "Thus."]]
    first = found.messages[1]
    assert (first.model, first.created_at) == ("openai:gpt-4o", datetime.fromtimestamp(1_700_000_010.5, UTC))
    assert (found.source, found.title) == (("chatgpt", "c1"), "A title")
    assert found.updated_at == datetime.fromtimestamp(1_700_000_900, UTC)


def test_messages_between_two_questions_are_one_answer() -> None:
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "Sums", "content": "Add."}]}
    recap = {"content_type": "reasoning_recap", "content": "Thought for 8s"}
    found = read_chatgpt(
        say("q", "root", "user", "2 + 2?"),
        say("t", "q", "assistant", thoughts),
        say(
            "p",
            "t",
            "assistant",
            recap,
            metadata={"finished_duration_sec": 8},
        ),
        say("k", "p", "assistant", {"content_type": "code", "language": "python", "text": "2+2"}, recipient="python"),
        say("o", "k", "tool", {"content_type": "execution_output", "text": "4"}, name="python"),
        say("a", "o", "assistant", "It is 4.", metadata={"model_slug": "o3", "finish_details": {"type": "stop"}}),
    )
    answer = find_answer(found)
    assert list(answer.parts) == [
        Reasoning("Sums\nAdd."),
        Thought(8000),
        ToolCall("k", "python"),
        ToolArguments("k", '{"input": "2+2"}'),
        ToolResult("k", "4", ok=True),
        Token("It is 4."),
    ]
    [call] = answer.calls
    assert (call.name, call.arguments, call.result) == ("python", '{"input": "2+2"}', "4")
    assert (answer.status, answer.finish_reason, answer.model) == ("complete", "stop", "openai:o3")


def test_an_answer_that_forks_in_its_middle_is_two_attempts() -> None:
    found = read_chatgpt(
        say("q", "root", "user", "Q"),
        say("k", "q", "assistant", "search('x')", recipient="web.run"),
        say("one", "k", "tool", "first", name="web.run"),
        say("a", "one", "assistant", "A"),
        say("two", "k", "tool", "second", name="web.run"),
        say("b", "two", "assistant", "B"),
    )
    assert list_branches(found) == [["Q", "A"], ["Q", "B"]]
    assert [message.calls[0].result for message in found.messages[1:]] == ["first", "second"]
    assert found.messages[1].calls[0].name == "web_run"  # a name that every provider takes


def test_images_and_files_are_named_where_they_stood() -> None:
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "size_bytes": 9}
    parts = {"content_type": "multimodal_text", "parts": [image, "What is this?"]}
    drawn = {"content_type": "multimodal_text", "parts": [{**image, "asset_pointer": "sediment://drawn"}]}
    found = read_chatgpt(
        say("q", "root", "user", parts, metadata={"attachments": [{"id": "1", "name": "cat.png"}, {"name": "a.pdf"}]}),
        say("k", "q", "assistant", '{"prompt": "a cat"}', recipient="dalle.text2im"),
        say("o", "k", "tool", drawn, name="dalle.text2im"),
        say("a", "o", "assistant", "A cat."),
    )
    assert found.messages[0].text == "[Image left out: cat.png]\n\nWhat is this?\n\n[File left out: a.pdf]"
    assert "sediment://drawn" in found.messages[1].calls[0].result
    assert found.left_out == {"image": 2, "file": 1}


@pytest.mark.parametrize(
    ("entry", "left_out"),
    [
        (say("x", "root", "system", ""), {}),
        (say("x", "root", "system", "", metadata={"is_visually_hidden_from_conversation": True}), {}),
        (say("x", "root", "user", {"content_type": "user_editable_context", "user_profile": "I"}), 1),
        (say("x", "root", "assistant", {"content_type": "model_editable_context", "model_set_context": ""}), 1),
        (say("x", "root", "somebody", "Boo"), 1),
        (say("x", "root", "assistant", ""), {}),
    ],
)
def test_a_message_that_says_nothing_is_passed_over(entry: Json, left_out: Any) -> None:
    found = read_chatgpt(entry, say("q", "x", "user", "Q"), say("a", "q", "assistant", "A"))
    assert show(found) == ["Q", "A"]
    assert sum(found.left_out.values()) == (left_out or 0)


def test_the_first_system_message_is_the_system_prompt() -> None:
    found = read_chatgpt(
        say("s", "root", "system", "Be brief."),
        say("t", "s", "system", "Be long."),
        say("q", "t", "user", "Q"),
        say("a", "q", "assistant", "A"),
    )
    assert (found.system_prompt, found.left_out) == ("Be brief.", {"further system message": 1})


def test_a_message_whose_parent_was_deleted_begins_a_branch() -> None:
    found = read_chatgpt(
        say("q", "root", "user", "Q"),
        say("a", "q", "assistant", "A"),
        say("r", "gone", "user", "R"),
        say("b", "r", "assistant", "B"),
        say("c", "gone too", "assistant", "C"),
    )
    assert list_branches(found) == [["Q", "A"], ["R", "B"], ["(This message is not in the archive.)", "C"]]
    assert found.left_out == {"message that was deleted before the archive was made": 2}


def test_a_question_without_an_answer_gets_one_that_was_stopped() -> None:
    found = read_chatgpt(say("q", "root", "user", "Q"), say("r", "q", "user", "R"), current_node="r")
    assert [(message.role, message.status) for message in found.list_branch()] == [
        *(("user", "complete"), ("assistant", "stopped")),
        *(("user", "complete"), ("assistant", "stopped")),
    ]


def test_a_circle_of_messages_is_left_out() -> None:
    found = read_chatgpt(
        say("q", "root", "user", "Q"),
        say("a", "q", "assistant", "A"),
        say("x", "y", "user", "X"),
        say("y", "x", "assistant", "Y"),
        say("z", "z", "user", "Z"),
    )
    assert list_branches(found) == [["Q", "A"]]
    assert found.left_out == {"message in a circle of messages": 3}


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({}, "complete", "stop"),
        ({"metadata": {"finish_details": {"type": "max_tokens"}}}, "complete", "length"),
        ({"metadata": {"finish_details": {"type": "interrupted"}}}, "stopped", ""),
        ({"status": "in_progress"}, "stopped", ""),
    ],
)
def test_an_answer_ends_as_it_ended_there(fields: Json, status: str, reason: str) -> None:
    answer = find_answer(read_chatgpt(say("q", "root", "user", "Q"), say("a", "q", "assistant", "A", **fields)))
    assert (answer.status, answer.finish_reason) == (status, reason)


def test_marks_of_citations_are_left_out_of_the_text() -> None:
    text = "Yes\ue200cite\ue202turn0search1\ue201."
    found = read_chatgpt(say("q", "root", "user", "Q"), say("a", "q", "assistant", text))
    assert (show(found)[1], found.left_out) == ("Yes.", {"mark of a citation": 1})


def test_names_links_and_citations_of_its_page_are_words_and_links() -> None:
    """Names were lost from the middle of sentences."""
    text = (
        'In \ue200entity\ue202["city","Paris","capital of France"]\ue201 see '
        "\ue200url\ue202the tower\ue202https://tower.example/\ue201, \ue200url\ue202a map\ue202turn0search3\ue201 and "
        "\ue200url\ue202a walk\ue202turn0search9\ue201.\ue200cite\ue202turn0search1\ue202turn0search2\ue201 "
        "\ue200image_group\ue202{}\ue201"
    )
    cited = [{"title": "One", "url": "https://one.example/a"}, {"title": "", "url": "https://two.example/"}]
    references = [
        {
            "matched_text": "\ue200cite\ue202turn0search1\ue202turn0search2\ue201",
            "items": [*cited, {"url": "file:///x"}],
        },
        {"matched_text": "\ue200url\ue202a map\ue202turn0search3\ue201", "title": "Map", "url": "https://map.example/"},
        {"matched_text": 3},
        "nonsense",
    ]
    said = say("a", "q", "assistant", text, metadata={"content_references": references})
    found = read_chatgpt(say("q", "root", "user", "Q"), said)
    assert show(found)[1].rstrip() == (
        "In Paris see [the tower](<https://tower.example/>), [a map](<https://map.example/>) and a walk."
        "([One](<https://one.example/a>), [two.example](<https://two.example/>))"
    )
    assert found.left_out == {"mark of a citation": 1}


@pytest.mark.parametrize(
    "mark", ["entity\ue202[", "entity\ue202[1]", "entity\ue202[1, 2]", "cite", "", "url\ue202\ue202"]
)
def test_a_mark_that_nobody_can_read_is_left_out(mark: str) -> None:
    found = read_chatgpt(say("q", "root", "user", "Q"), say("a", "q", "assistant", f"So\ue200{mark}\ue201."))
    assert show(found)[1] == "So."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('In \ue200entity\ue202["city","Par\\u0000is \\ud800"]\ue201.', "In Par\ufffdis \ufffd."),
        ("\ue200a\ue200cite\ue202b\ue201c\ue201", "ac"),
    ],
)
def test_nothing_that_no_database_keeps_and_no_piece_of_a_mark_is_left(text: str, kept: str) -> None:
    found = read_chatgpt(say("q", "root", "user", "Q"), say("a", "q", "assistant", text))
    assert show(found)[1] == kept


@pytest.mark.parametrize(
    ("fields", "pinned", "archived"),
    [
        ({"is_archived": True, "is_starred": None}, None, 1_700_000_900),
        ({"is_archived": False, "is_starred": False}, None, None),
        ({"is_starred": True}, 1_700_000_900, None),
        ({"is_starred": True, "pinned_time": 1_700_000_500.0}, 1_700_000_500, None),
        ({"is_archived": "yes", "is_starred": 1, "pinned_time": "nonsense"}, None, None),
    ],
)
def test_what_was_archived_or_pinned_there_is_so_here(fields: Json, pinned: int | None, archived: int | None) -> None:
    found = read_chatgpt(say("q", "root", "user", "Q"), say("a", "q", "assistant", "A"), **fields)
    moments = [None if moment is None else moment.timestamp() for moment in (found.pinned_at, found.archived_at)]
    assert moments == [pinned, archived]


def test_a_conversation_with_a_star_at_claude_is_pinned() -> None:
    assert read_claude(is_starred=True).pinned_at == datetime(2025, 5, 2, 10, tzinfo=UTC)
    assert read_claude(is_starred=False).pinned_at is None


def test_typed_text_is_made_storable() -> None:
    found = read_chatgpt(say("q", "root", "user", "a\0b\ud83dc\r\nd"), say("a", "q", "assistant", "x\0y"))
    assert show(found) == ["a\ufffdb\ufffdc\nd", "x\ufffdy"]


# Claude


def read_claude(*messages: Json, **fields: Any) -> PortableConversation:
    whole = {
        "uuid": "u1",
        "name": "A name",
        "created_at": "2025-05-01T10:00:00.123456Z",
        "updated_at": "2025-05-02T10:00:00.000000Z",
        "account": {"uuid": "x"},
        "chat_messages": list(messages),
    }
    found = claude.read_conversation({**whole, **fields})
    check_tree(found.messages)
    return found


def write(key: str, sender: str, *content: Json, parent: str | None = None, **fields: Any) -> Json:
    """Return a message of Claude's archive."""
    linked = {"parent_message_uuid": parent} if parent else {}
    return {
        "uuid": key,
        "text": "",
        "content": list(content),
        "sender": sender,
        "created_at": "2025-05-01T10:00:01Z",
        "updated_at": "2025-05-01T10:00:01Z",
        "attachments": [],
        "files": [],
        **linked,
        **fields,
    }


def make_text_block(words: str) -> Json:
    return {"type": "text", "text": words, "citations": []}


def test_claude_messages_without_parents_follow_each_other() -> None:
    found = read_claude(
        write("1", "human", text="Q"),
        write("2", "assistant", text="A"),
        write("3", "human", make_text_block("R")),
        write("4", "assistant", make_text_block("B")),
    )
    assert show(found) == ["Q", "A", "R", "B"]
    assert (found.source, found.title) == (("claude", "u1"), "A name")
    assert found.created_at == datetime(2025, 5, 1, 10, 0, 0, 123456, UTC)


def test_claude_messages_without_ids_follow_each_other_too() -> None:
    found = read_claude(
        *(
            write("", sender, make_text_block(words))
            for sender, words in zip(("human", "assistant") * 2, "QARB", strict=True)
        )
    )
    assert (show(found), found.left_out) == (["Q", "A", "R", "B"], {})


def test_claude_branches_are_kept_and_the_current_one_is_shown() -> None:
    found = read_claude(
        write("1", "human", make_text_block("Q"), parent=claude.ROOT),
        write("2", "assistant", make_text_block("A"), parent="1"),
        write("3", "assistant", make_text_block("B"), parent="1"),
        write("4", "human", make_text_block("W"), parent=claude.ROOT),
        write("5", "assistant", make_text_block("C"), parent="4"),
        model="claude-sonnet-4-5",
        current_leaf_message_uuid="2",
    )
    assert show(found) == ["Q", "A"]
    assert list_branches(found) == [["Q", "A"], ["Q", "B"], ["W", "C"]]
    assert {message.model for message in found.messages} == {"", "anthropic:claude-sonnet-4-5"}


def test_claude_thoughts_and_tools_are_parts_of_the_answer() -> None:
    times = {"start_timestamp": "2025-05-01T10:00:00Z", "stop_timestamp": "2025-05-01T10:00:02.5Z"}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [make_text_block("Found.")], "is_error": False}
    found = read_claude(
        write("1", "human", make_text_block("Q")),
        write(
            "2",
            "assistant",
            {"type": "thinking", "thinking": "Hm.", "summaries": [], **times},
            make_text_block("I look."),
            {"type": "tool_use", "id": "t1", "name": "web_search", "input": {"query": "x"}},
            result,
            {"type": "token_budget"},
            {"type": "hologram"},
            make_text_block("It is so."),
        ),
    )
    answer = find_answer(found)
    assert list(answer.parts) == [
        Reasoning("Hm."),
        Thought(2500),
        Token("I look."),
        ToolCall("t1", "web_search"),
        ToolArguments("t1", '{"query": "x"}'),
        ToolResult("t1", "Found.", ok=True),
        Token("It is so."),
    ]
    assert found.left_out == {"content of the kind hologram": 1}


def test_claude_attachments_are_text_and_files_are_named() -> None:
    paste = {"file_name": "", "file_size": 3, "file_type": "txt", "extracted_content": "A long paste."}
    files = [{"file_name": "cat.jpg", "file_uuid": "f"}, {"file_name": "a.pdf"}]
    found = read_claude(
        write("1", "human", attachments=[paste], files=files),
        write("2", "assistant", make_text_block("A")),
    )
    assert show(found)[0] == "A long paste.\n\n[Image left out: cat.jpg]\n\n\n\n[File left out: a.pdf]"
    assert found.left_out == {"image": 1, "file": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mapping": {"a": 1}},
        {"mapping": {"a": {"message": 1}}},
        {"mapping": {"a": {"message": {"author": 1}}}},
        {"mapping": {"a": {"message": {"author": {"role": "user"}, "content": {"parts": 1}}}}},
        {"mapping": {"a": {"message": {"author": {"role": "user"}, "content": {"parts": [1]}}}}},
        {"mapping": {}, "title": 1},
        {"mapping": {}, "conversation_id": {"a": 1}},
        {"chat_messages": [1]},
        {"chat_messages": [{"uuid": 1}]},
        {"chat_messages": [{"sender": "human", "text": 1}]},
        {"chat_messages": [{"sender": "human", "content": {}}]},
        {"chat_messages": [{"sender": "assistant", "content": [1]}]},
        {"chat_messages": [{"sender": "human", "attachments": [1]}]},
        {"chat_messages": [], "name": []},
    ],
)
def test_a_conversation_of_another_shape_is_refused_with_the_field(wrong: Json) -> None:
    read = chatgpt.read_conversation if "mapping" in wrong else claude.read_conversation
    with pytest.raises(UnreadableError, match="`"):
        read(wrong)
