"""A title by rules is the gist of the first question that has one: no greeting, no head of a paste, in any script."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.conversations.titles_by_rule import LONGEST, make_title
from chat.core.lines import join_lines
from chat.models import Conversation
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

# ruff: noqa: RUF001 - stops of many scripts look alike

LOG = "2026-11-28 12:00:01,123 ERROR worker-3 connection refused by 10.0.0.1\n" * 40
TRACE = 'Traceback (most recent call last):\n  File "app.py", line 3, in main\n    run()\nValueError: bad value\n'
STORY = "We have worked on one large shop for three years and its main page takes longer every month than before. " * 4


@pytest.mark.parametrize(
    "greeting",
    [
        *("hi", "Hello", "hey!", "Hi there", "HELLO???", "Good morning, everyone!", "hi\n\nhello again", "Hey Claude,"),
        *(
            "Hallo zusammen",
            "Bonjour !",
            "¡Hola!",
            "Olá",
            "Ciao",
            "Привет!",
            "你好",
            "こんにちは。",
            "안녕하세요",
            "مرحبا",
        ),
        *("नमस्ते", "שלום", "สวัสดี", "How are you?", "I have a question.", "👋", "?!", "   \n", ""),
    ],
)
def test_a_greeting_makes_no_title(greeting: str) -> None:
    assert make_title(greeting) == ""


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Why?", "Why?"),
        ("Why is the sky blue?\nPlease be short.", "Why is the sky blue?"),
        ("Hi, how do I sort a list in Python?", "How do I sort a list in Python?"),
        ("Hello World in Rust?", "Hello World in Rust?"),
        ("I have a question. How do I boil eggs?", "How do I boil eggs?"),
        ("Hallo zusammen! Wie backe ich Brot?", "Wie backe ich Brot?"),
        ("你好，怎么用Python排序列表？", "怎么用Python排序列表？"),
        ("مرحبا، كيف أطبخ الأرز؟", "كيف أطبخ الأرز؟"),
        ("日本語の文章を要約してください。" * 10, "日本語の文章を要約してください。"),
        ("Translate to German: How are you?", "Translate to German: How are you?"),
        ("- buy milk\n- eggs", "buy milk"),
        ("# A **bold** heading", "A bold heading"),
        ("Explain [this page](https://example.org/x) and `foo()`, please", "Explain this page and foo(), please"),
        ("<b>Why</b> so <script>alert(1)</script>?", "Why so alert(1) ?"),
        ("$E = mc^2$ explain", "$E = mc^2$ explain"),
    ],
)
def test_a_title_is_the_gist_of_what_was_typed(question: str, title: str) -> None:
    assert make_title(question) == title


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("```python\nprint(1)\n```\nWhy does this print 1?", "Why does this print 1?"),
        (f"{LOG}\nHow can I fix this?", "How can I fix this?"),
        (f"{TRACE}\nplease explain", "please explain"),
        (f"Fix this error:\n{TRACE}", "Fix this error"),
        (f"Here is my log:\n{LOG}\nWhat went wrong?", "What went wrong?"),
        (f"{STORY}How do I make it fast?", "How do I make it fast?"),
        ('{"a": 1, "b": [1, 2], "c": {"d": null}}\nas YAML', "as YAML"),
        ("a,b,c,d\n1,2,3,4\n5,6,7,8\nWhich column is largest?", "Which column is largest?"),
        ("> He wrote this to me\n> yesterday\nAnswer him politely", "Answer him politely"),
        ("$ make test\nmake: *** [test] Error 2\nwhat now?", "what now?"),
        (LOG, "Pasted text"),
        ("```\nwithout an end", "Pasted text"),
        ("QUJD" * 200, "Pasted text"),
    ],
    ids=lambda text: text[:20],
)
def test_a_title_is_never_the_head_of_a_paste(question: str, title: str) -> None:
    assert make_title(question) == title


@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["é́", "👩‍👩‍👧", "का", "**", "hi ", "\n", "`", "a b"])).map("".join)
)
def test_a_title_is_one_short_line_that_is_cut_between_characters(question: str) -> None:
    title = make_title(question)
    assert len(title) <= LONGEST
    assert title == join_lines(title)
    assert not title or unicodedata.category(title[0]) != "Zs"


def test_a_long_line_is_cut_at_a_word() -> None:
    title = make_title("Describe the difference between a process and a thread in an operating system")
    assert title == "Describe the difference between a process and a thread in…"


def test_no_mark_is_parted_from_its_letter() -> None:
    for before in range(50, 62):
        title = make_title("क" * before + "का" * 20)
        assert unicodedata.category(title[-2]) != "Zs"
        assert title.removesuffix("…") + "ा" not in ("क" * before + "का" * 20)[: len(title)]


@pytest.mark.parametrize(
    "piece", ["[", "<a ", "`", "*_", "hi, ", "```\n", "a.", "\t", "=;", "你好，", "{", "[a](", "at x("]
)
def test_a_long_question_costs_little(piece: str) -> None:
    question = piece * (200_000 // len(piece))
    begun = time.process_time()
    make_title(question)
    assert time.process_time() - begun < 0.3


async def test_the_question_after_a_greeting_gives_the_title(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Hello. What is it?")
    first = await site.ask("hi")
    conversation = await Conversation.objects.aget()
    assert (conversation.title, conversation.titled_by) == ("", "")
    await site.ask("Why is the sky blue?", first["conversation"])
    conversation = await Conversation.objects.aget()
    assert (conversation.title, conversation.titled_by) == ("Why is the sky blue?", "rule")
    await site.ask("And at night?", first["conversation"])
    assert (await Conversation.objects.aget()).title == "Why is the sky blue?"
