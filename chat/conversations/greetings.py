"""Greetings, and other words before a question that say nothing of what it is about."""

from __future__ import annotations

import re

# ruff: noqa: RUF001 - letters and stops of many scripts look alike

# Words of greeting by language. A longer one stands before its own beginning.
_WORDS = (
    *(
        "good morning",
        "good afternoon",
        "good evening",
        "good day",
        "hello",
        "hi",
        "hey",
        "heya",
        "hiya",
        "howdy",
        "yo",
    ),
    *("greetings", "welcome back", "morning", "evening", "dear", "thanks", "thank you", "test", "testing", "ping"),
    *("guten morgen", "guten tag", "guten abend", "hallo", "moin", "servus", "grüezi", "grüß gott", "grüß dich"),
    *("bonjour", "bonsoir", "salut", "coucou", "buenos días", "buenos dias", "buenas tardes", "buenas noches"),
    *("buenas", "hola", "bom dia", "boa tarde", "boa noite", "olá", "ola", "oi", "buongiorno", "buonasera", "ciao"),
    *("salve", "goedemorgen", "goedemiddag", "goedendag", "goedenavond", "hoi", "god morgen", "god dag", "god kväll"),
    *("hej hej", "hejsan", "hej", "hei", "moi", "terve", "cześć", "dzień dobry", "dobrý den", "ahoj", "szia", "helló"),
    *("bună ziua", "bună", "merhaba", "selam", "günaydın", "halo", "selamat pagi", "selamat siang", "selamat malam"),
    *("xin chào", "chào bạn", "chào", "здравствуйте", "здравствуй", "привет", "добрый день", "доброе утро"),
    *("добрый вечер", "вітаю", "привіт", "добрий день", "здравейте", "γεια σας", "γεια σου", "γεια", "καλημέρα"),
    *("καλησπέρα", "שלום", "היי", "السلام عليكم", "مرحبا", "مرحباً", "أهلا", "اهلا", "سلام", "नमस्ते", "नमस्कार", "हैलो"),
    *("হ্যালো", "வணக்கம்", "สวัสดีครับ", "สวัสดีค่ะ", "สวัสดี", "你好吗", "你好", "您好", "大家好", "早上好", "嗨", "哈囉", "哈喽"),
    *(
        "おはようございます",
        "おはよう",
        "こんにちは",
        "こんばんは",
        "やあ",
        "もしもし",
        "안녕하세요",
        "안녕",
        "여보세요",
    ),
)
_ADDRESSED = (
    *(
        "there",
        "again",
        "all",
        "everyone",
        "everybody",
        "friend",
        "folks",
        "guys",
        "team",
        "world's best",
        "bot",
        "buddy",
    ),
    *("you", "to you", "assistant", "ai", "claude", "chatgpt", "chat gpt", "gpt", "gemini", "copilot", "sir", "madam"),
    *("zusammen", "à tous", "a todos", "a tutti", "всем"),
)
# What people ask for politeness, and what only announces the question.
_SMALL_TALK = (
    *("how are you", "how are you doing", "how are you today", "how's it going", "how is it going", "what's up"),
    *("are you there", "nice to meet you", "i have a question", "i have a quick question", "i've got a question"),
    *("quick question", "question", "can you help me", "could you help me", "i need help", "i need your help", "help"),
    *("can i ask you something", "wie geht es dir", "wie geht's", "ich habe eine frage", "comment ça va", "ça va"),
    *("j'ai une question", "cómo estás", "qué tal", "tengo una pregunta", "como vai", "tudo bem", "come stai"),
    *("как дела", "у меня вопрос", "आप कैसे हैं", "お元気ですか", "잘 지내세요"),
)


def _match_any(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


_STOP = r"\s,.!?:;~…、。！？，：،؟।—–-"
_END = rf"(?=[{_STOP}]|$)"
_STOPS = rf"[¡¿{_STOP}]*"
_GREETING = re.compile(
    rf"{_STOPS}(?:{_match_any(_WORDS)}){_END}(?:[\s,]+(?:{_match_any(_ADDRESSED)}){_END})*{_STOPS}", re.IGNORECASE
)
_SMALL = re.compile(rf"{_STOPS}(?:{_match_any(_SMALL_TALK)}){_END}{_STOPS}$", re.IGNORECASE)
# Before more text a greeting is one only where something parts it from that: "Hi there, why?", not "Hello World".
_PARTED = re.compile(r"[,.!:;~…、。！，：،—–-]\s*$")


def is_small_talk(sentence: str) -> bool:
    """Return whether a sentence only greets, or says no more than that a question comes."""
    plain = sentence.replace("\u2019", "'")
    found = _GREETING.match(plain)
    if found and found.end() == len(plain):
        return True
    return bool(_SMALL.match(plain)) or not any(character.isalnum() for character in plain)


def strip_greeting(sentence: str) -> str:
    """Return a sentence without the greeting that it begins with."""
    found = _GREETING.match(sentence.replace("\u2019", "'"))
    if found is None or found.end() == len(sentence) or not _PARTED.search(found[0]):
        return sentence
    rest = sentence[found.end() :]
    return rest[:1].upper() + rest[1:]
