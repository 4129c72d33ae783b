"""A title is what a model meant as one: nothing that it thought, no label, no typography, no excuse."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.generation.title_text import extract_title

TITLE = "Why the sky is blue"

DRESSED = [
    TITLE,
    *(
        f"{label}: {TITLE}"
        for label in ("Judul", "Başl\u0131k", "Tiêu đề", "Název", "Otsikko", "Rubrik", "Заглавие", "τίτλος")
    ),
    *(f"{label}\uff1a{TITLE}" for label in ("题目", "題名", "好的\uff0c标题", "以下是标题")),
    *(f"{label}: {TITLE}" for label in ("العنوان", "כותרת", "शीर्षक", "ชื่อเรื่อง")),
    *(f"{words} {TITLE}" for words in ("Voici un titre :", "Hier ist ein Titel:", "Aquí tienes un título:", "Ecco:")),
    f"title = {TITLE}",
    f"assistant: {TITLE}",
    f"{TITLE} (4 words)",
    f"<answer>{TITLE}</answer>",
    f"\\boxed{{{TITLE}}}",
    f"\u200b\u202e{TITLE}\u2069",
    f"{TITLE}\n",
    f"**{TITLE}**",
    f"__{TITLE}__",
    f"*{TITLE}*",
    f"`{TITLE}`",
    f'"{TITLE}"',
    f"'{TITLE}'",
    f"“{TITLE}”",
    f"„{TITLE}“",
    f"«{TITLE}»",
    f"「{TITLE}」",
    f"《{TITLE}》",
    f'**"{TITLE}"**',
    f'"**{TITLE}**"',
    f"# {TITLE}",
    f"### **{TITLE}**",
    f"- {TITLE}",
    f"1. {TITLE}\n2. Blue skies\n3. Light",
    f"> {TITLE}",
    f"{TITLE}.",
    f'"{TITLE}."',
    f"Title: {TITLE}",
    f"title: {TITLE}",
    f"**Title:** {TITLE}",
    f"**Title: {TITLE}**",
    f"**Title**: {TITLE}",
    f'Title: "{TITLE}"',
    f"Conversation title: {TITLE}",
    f"Titel: {TITLE}",
    f"标题\uff1a{TITLE}",
    f"Title:\n{TITLE}",
    f"Sure! Here is a title:\n\n**{TITLE}**",
    f"Sure! Here's a title for the conversation: {TITLE}",
    f"Here is the title: “{TITLE}”",
    f"Of course! {TITLE}",
    f'A good title would be: "{TITLE}"',
    f'{{"title": "{TITLE}"}}',
    f'{{"title":"{TITLE}"}}',
    f'{{"Title": "{TITLE}", "words": 5}}',
    f'```json\n{{"title": "{TITLE}"}}\n```',
    f'Here it is: {{"title": "{TITLE}"}}',
    f'{{"title": "{TITLE}',
    f'"{TITLE}"',
    f'["{TITLE}"]',
    f"```\n{TITLE}\n```",
    f"```text\n{TITLE}\n```",
    f"<title>{TITLE}</title>",
    f"[{TITLE}](https://example.org)",
    f"<think>\nOkay, the user wants a title.\n</think>\n\n{TITLE}",
    f"<thinking>Hm.</thinking>{TITLE}",
    f"Okay, the user asks about the sky.\n</think>\n\n{TITLE}",
    f"[THINK]Hm.[/THINK]{TITLE}",
    f"{TITLE}\n\nThis title says what it is about.",
    f"  {TITLE}  ",
    "Why  the\tsky is blue",
]

NONE = [
    "",
    "N/A",
    "Untitled",
    "New chat",
    " \n ",
    "<think>\nOkay, the user wants a title. Something about the sk",
    "<think>Okay.</think>",
    "Okay, the user wants a title for a conversation about the sky.",
    "The user is asking why the sky is blue.",
    "Let me think about a title for this conversation.",
    "I'm sorry, but I can't help with that.",
    "I cannot write a title for this.",
    "Sure! Here is a title:",
    "Title:",
    "```\n```",
    "{}",
    '{"words": 5}',
    "word " * 80,
]

KEPT = [
    "Family 👩\u200d👩\u200d👧 trips",
    "Plans for the U.S.A.",
    "Node.js and .NET",
    "And then...",
    "Rate of 3.5",
    "What is 2 * 3 * 4?",
    "C++ and C#",
    "Use of *args and **kwargs",
    'The "quoted" word',
    "Okay boomer memes",
    "Sure thing",
    "First aid",
    "为什么天空是蓝色的",
    "Time: a short history",
    "'Tis the season",
]


@pytest.mark.parametrize("said", DRESSED)
def test_a_title_is_found_among_labels_quotes_and_thoughts(said: str) -> None:
    assert extract_title(said) == TITLE


@pytest.mark.parametrize("said", NONE)
def test_a_reply_without_a_title_gives_none(said: str) -> None:
    assert extract_title(said) == ""


@pytest.mark.parametrize("title", KEPT)
def test_marks_that_belong_to_a_title_stay(title: str) -> None:
    assert extract_title(title) == title


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
def test_any_title_is_one_line_of_a_bounded_length(said: str) -> None:
    title = extract_title(said)
    assert len(title) <= 150
    assert len(title.splitlines()) <= 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="[](){}<>*_`\"'#:. \nTitlethnk/", max_size=80))
def test_a_title_of_decoration_alone_does_not_grow_when_it_is_read_again(said: str) -> None:
    title = extract_title(said)
    assert extract_title(title) in (title, "") or len(extract_title(title)) < len(title)
