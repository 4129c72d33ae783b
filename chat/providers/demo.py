"""The embedded provider, for people who have no key yet: it says that it is a demo, and shows what the site is for.

Nothing here is random: the same question has the same answer, in the same pieces, at the same rhythm.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent, Reasoning, Token, Usage, make_storable
from chat.core.failures import ProviderReport
from chat.core.tokens import estimate_tokens
from chat.providers.base import Prompt
from chat.providers.decoder import BatchBuilder

ANSWERS = Path(__file__).parent / "demo_answers"

FIRST_WORD = 0.3  # seconds; what a quick model takes

# Characters of one token after another, and the seconds between them: about fifty tokens a second, not quite even.
# Four sizes against five pauses, so that twenty tokens pass before the pattern comes again.
SIZES = (4, 3, 5, 4)
RHYTHM = (0.017, 0.022, 0.015, 0.025, 0.020)

# A question may be 100,000 characters long. The demo chooses by its beginning and quotes even less of it.
READ = 2_000
QUOTED = 200

# What a question begins with to see something special. "longer" and "fail-safe" are other words.
SPECIAL = re.compile(r"\W*(rate[ _-]?limit|silent|stall|think|long|code|fail)(?![\w-])", re.IGNORECASE)

GREETING = re.compile(r"\W*(hello|hi|hey|good (?:morning|afternoon|evening))\b", re.IGNORECASE)

# Answers about the site, and the words that ask for each.
TOPICS = {
    name: re.compile(rf"\b(?:{words})", re.IGNORECASE)
    for name, words in {
        "interruption": "interrupt|reload|refresh|crash|los[et]|surviv|keep|kept|stop|(?:re|dis)connect|resum|restart",
        "streaming": "stream|token|render|markdown|fast|speed|slow|sse|live|websocket",
        "ledger": "ledger|admin|cost|usage|price|bill|spen[dt]|money|staff|operat",
        "keyboard": "keyboard|keys?\\b|shortcut|enter\\b|escape|type|accessib|screen reader|focus|mouse",
        "api": "api\\b|curl|program|script|python|json|bot\\b|http|integrat|endpoint",
    }.items()
}

# What Markdown would read as markup, anywhere in a line and at its beginning.
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~$&]|^[-+=](?=\W|$)|(?<=^\d)[.)]|(?<=^\d\d)[.)]")


class DemoProvider:
    """Answers without a model. `pace` is the speed: 1 is a human's, 2 twice as fast, 0 without any waiting."""

    def __init__(self, *, pace: float = 1.0) -> None:
        if not pace >= 0:
            raise ValueError(f"pace must be zero or more, not {pace}")
        self._slowness = 1 / pace if pace else 0.0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.base.Provider`; a pace of 0 does not shorten the silences that were asked for."""
        question = read_question(prompt)
        name = find_special(question)
        await self._wait(FIRST_WORD)
        if name == "rate limit":
            report = ProviderReport(429, "rate_limit_error", "the demo was asked to refuse", "demo-request")
            raise ChatError("rate_limited", "the demo was asked to refuse", retry_after=3, report=report)
        if name == "silent":
            await stay_silent()
        reasoning = read_text("reasoning.txt") if name == "think" else ""
        text = write_answer(question)
        async with aclosing(self._pace(cut_into_tokens(reasoning, text))) as batches:
            async for batch in batches:
                yield batch
        if name == "fail":
            report = ProviderReport(message="the demo was asked to fail", request_id="demo-request")
            raise ChatError("upstream_error", "the demo was asked to fail", report=report)
        if name == "stall":
            await stay_silent()
        yield [Finish("stop"), count_tokens(prompt, text, reasoning)]

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """See `chat.providers.base.Provider`; it takes as long as the stream, as with a model."""
        async with aclosing(self.stream(prompt)) as batches:
            events = [event async for batch in batches for event in batch]
        whole = BatchBuilder()
        for event in events:
            if isinstance(event, Reasoning | Token):
                whole.add_text(type(event), event.content)
            else:
                whole.put(event)
        return whole.take()

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        """See `chat.providers.base.Provider`."""
        return {}

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    async def _pace(self, events: Iterator[ProviderEvent]) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield each event when its time has come; a late reader gets all that is due at once, as from a network."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        batch: list[ProviderEvent] = []
        for event, pause in zip(events, cycle(RHYTHM), strict=False):
            batch.append(event)
            due += pause * self._slowness
            if due > loop.time():
                yield batch
                batch = []
                await asyncio.sleep(due - loop.time())
        if batch:
            yield batch

    async def _wait(self, seconds: float) -> None:
        # Also without waiting, so that a stream at pace 0 lets others run and can be cancelled.
        await asyncio.sleep(seconds * self._slowness)


async def stay_silent() -> NoReturn:
    """Say nothing until the stream is closed."""
    while True:  # noqa: ASYNC110 - no event is awaited
        await asyncio.sleep(3600)


def read_question(prompt: Prompt) -> str:
    """Return what the user said last."""
    return next((turn.content for turn in reversed(prompt.turns) if turn.role == "user"), "")


def find_special(question: str) -> str:
    """Return the name of the special answer that the question asks for, or an empty string."""
    found = SPECIAL.match(question[:READ])
    if found is None:
        return ""
    name = found[1].lower()
    return "rate limit" if name.startswith("rate") else name


def write_answer(question: str) -> str:
    """Return the text that answers the question; `rate limit` and `silent` have none."""
    if name := find_special(question):
        return read_text(f"{name}.md")
    beginning = make_storable(question[:READ])
    topic, lead = choose_topic(beginning)
    return "\n\n".join((write_opening(beginning), lead, read_text(f"{topic}.md"), read_text("closing.md")))


def write_opening(question: str) -> str:
    """Return a text that this is a demo, how to connect a model, and what was asked."""
    greeting = GREETING.match(question)
    this = f"{greeting[1].capitalize()}, this" if greeting else "This"
    return read_text("opening.md").format(This=this, question=quote_question(question))


def quote_question(question: str) -> str:
    """Return the beginning of the question on one line, with its markup to be read and not obeyed."""
    line = " ".join(question.split())
    beginning = line if len(line) <= QUOTED else f"{line[:QUOTED].rstrip()}…"
    # By references, not backslashes, which make a formula of brackets: `\[1\]`.
    return MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", beginning) or "(nothing)"


def choose_topic(question: str) -> tuple[str, str]:
    """Return the answer whose words the question has most of, or the same one by lot; and a sentence before it."""
    hits = {name: len(words.findall(question)) for name, words in TOPICS.items()}
    nearest = max(hits, key=hits.__getitem__)
    if hits[nearest]:
        return nearest, "The demo knows one subject, this site. Your words came nearest to this part of it."
    drawn = list(TOPICS)[crc32(question.encode()) % len(TOPICS)]
    return (
        drawn,
        "A model would have something to say to that. The demo knows one subject, this site; here is a part of it.",
    )


@cache
def read_text(name: str) -> str:
    """Return the text of one of the demo's answers."""
    return (ANSWERS / name).read_text(encoding="utf-8").rstrip("\n")


def cut_into_tokens(reasoning: str, text: str) -> Iterator[Reasoning | Token]:
    """Yield both texts as tokens, the reasoning first."""
    yield from map(Reasoning, cut_text(reasoning))
    yield from map(Token, cut_text(text))


def cut_text(text: str) -> Iterator[str]:
    """Yield the text in pieces of the size of tokens, cut anywhere, as a tokenizer cuts."""
    start = 0
    for size in cycle(SIZES):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size


def count_tokens(prompt: Prompt, text: str, reasoning: str) -> Usage:
    """Return a token for four characters. The demo is the provider, so its own count is no estimate."""
    asked = sum(estimate_tokens(len(turn.content)) for turn in prompt.turns)
    thought = estimate_tokens(len(reasoning))
    return Usage(asked, estimate_tokens(len(text)) + thought, reasoning_tokens=thought)
