"""The tokens of one upstream call, from reports that may come often, early, late, in part, or wrong."""

from __future__ import annotations

from typing import Any

from chat.core.events import Usage
from chat.core.tokens import estimate_tokens
from chat.providers.loose_json import read_token_count


class TokenCounts:
    """Gathers the reports of one call.

    Each figure is the highest plausible one of all reports: figures run, and a later report that lacks one, or has a
    zero for it, takes nothing back. What no report says plausibly is estimated, and the whole is marked as an estimate
    then.
    """

    def __init__(self, prompt_size: int, *, is_cache_apart: bool = False) -> None:
        """Count for a prompt of `prompt_size` characters.

        `is_cache_apart`: the input that is reported leaves out what was `cached` and what was `written`.
        """
        self._prompt_size = prompt_size
        self._is_cache_apart = is_cache_apart
        self._known: dict[str, int] = {}
        self._implausible: set[str] = set()  # figures of which nothing else was sent
        self._is_input_derived = False  # the input is our conclusion alone
        self._is_derived = False  # the output follows from other figures and was not sent itself
        self.is_running = False  # text came after the last report of the output: the decoder says so
        self.has_news = False

    def report(self, *, is_derived: bool = False, is_input_derived: bool = False, **figures: Any) -> None:
        """Take in one report of any of the figures, as they were sent; what is None was not.

        They are `input`, `output`, `cached`, `written`, `written_hour`, `reasoning` and `searches`. `written` is all
        that went into the provider's cache, `written_hour` what of it stays for an hour.
        """
        for name, sent in figures.items():
            if sent is None:
                continue
            count = read_token_count(sent)
            if count is None:
                if name not in self._known:
                    self._implausible.add(name)
                continue
            self._implausible.discard(name)
            if name == "input":
                self._is_input_derived = is_input_derived
            known = self._known.get(name)
            if name == "output" and count:
                self.is_running = False
                if known is None or count > known or (count == known and not is_derived):
                    self._is_derived = is_derived
            self._known[name] = count if known is None else max(known, count)
            self.has_news = True

    def make_usage(self, output_chars: int, reasoning_chars: int) -> Usage | None:
        """Return the figures for a call with `output_chars` characters of output, `reasoning_chars` of them reasoning.

        None when no report had a plausible one.
        """
        if not any(self._known.values()):
            return None
        read, is_read_exact = self._count_input()
        output, is_output_exact = self._count_output(output_chars, reasoning_chars)
        cached, reasoning = self._known.get("cached", 0), self._known.get("reasoning", 0)
        written, hour = self._known.get("written", 0), self._known.get("written_hour", 0)
        is_plausible = cached + written <= read and reasoning <= output and hour <= written
        is_sent = is_read_exact and is_output_exact and not self._implausible
        cached = min(cached, read)
        written = min(written, read - cached)
        hour = min(hour, written)
        return Usage(
            read,
            output,
            cached_tokens=cached,
            reasoning_tokens=min(reasoning, output),
            estimated=not (is_sent and is_plausible),
            written_tokens=written - hour,
            written_hour_tokens=hour,
            searches=self._known.get("searches", 0),
        )

    def _count_input(self) -> tuple[int, bool]:
        """Return the input, and whether it was sent."""
        of_cache = self._known.get("cached", 0) + self._known.get("written", 0)
        aside = of_cache if self._is_cache_apart else 0
        if "input" in self._known and self._known["input"] + aside:
            return self._known["input"] + aside, not self._is_input_derived
        return max(estimate_tokens(self._prompt_size), of_cache), False

    def _count_output(self, output_chars: int, reasoning_chars: int) -> tuple[int, bool]:
        """Return the output, reasoning included, and whether it was sent."""
        known = self._known.get("output")
        estimate = estimate_tokens(output_chars - reasoning_chars) + estimate_tokens(reasoning_chars)
        if known is None or (known == 0 and output_chars):
            return max(estimate, self._known.get("reasoning", 0)), False
        if self.is_running:
            return max(known, estimate), False
        return known, not self._is_derived


def report_openai_usage(counts: TokenCounts, usage: object) -> None:
    """Take in a `usage` object of OpenAI's format, in the variations of its imitators."""
    if not isinstance(usage, dict) or not usage:
        return
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    cache = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    reasoning = _pick(details, "reasoning_tokens", usage.get("reasoning_tokens"))
    # Moonshot has the second name, DeepSeek the third, Portkey the last.
    names = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
    cached = _pick(cache, "cached_tokens", next((usage[name] for name in names if usage.get(name) is not None), None))
    # OpenRouter and OpenAI have the first name, LiteLLM the others.
    stored = _pick(cache, "cache_write_tokens", _pick(cache, "cache_creation_tokens", None))
    if stored is None:
        stored = usage.get("cache_creation_input_tokens")
    read = usage.get("prompt_tokens", usage.get("input_tokens"))
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    total = read_token_count(usage.get("total_tokens"))
    of_cache = (read_token_count(cached) or 0) + (read_token_count(stored) or 0)
    whole_input, is_input_derived = _add_cache(read_token_count(read), read_token_count(written), of_cache, total)
    read = read if whole_input is None else whole_input
    whole, is_derived = _add_reasoning(
        read_token_count(read), read_token_count(written), read_token_count(reasoning), total
    )
    counts.report(
        input=read,
        output=written if whole is None else whole,
        cached=cached,
        written=stored,
        reasoning=reasoning,
        is_derived=is_derived,
        is_input_derived=is_input_derived,
    )


def _pick(details: object, name: str, default: object) -> object:
    if isinstance(details, dict):
        return default if details.get(name) is None else details[name]
    # Something else in the place of an object is a figure that nobody can read.
    return default if details is None or default is not None else details


def _add_cache(read: int | None, written: int | None, of_cache: int, total: int | None) -> tuple[int | None, bool]:
    """Return the input with its cache where `read` leaves that out, and whether that is our conclusion alone.

    Gateways before Claude pass on its own figures, of which the cache is no part: Portkey counts it into the total,
    new-api and others nowhere. Then the total tells, or that a part would be more than the whole.
    """
    if read is None or not of_cache:
        return None, False
    if written is not None and total == read + written + of_cache:
        return read + of_cache, False
    return (read + of_cache, True) if of_cache > read else (None, False)


def _add_reasoning(
    read: int | None, written: int | None, reasoning: int | None, total: int | None
) -> tuple[int | None, bool]:
    """Return the output with its reasoning where `written` leaves that out, and whether that is our conclusion alone.

    xAI counts the reasoning apart, and into the total. Gemini's compatible interface counts it into the total and tells
    it nowhere else.
    """
    if written is None or read is None:
        return None, False
    thought = reasoning or 0
    if total is not None and thought and total == read + written + thought:
        return written + thought, False
    if thought > written and total != read + written:
        return written + thought, True
    if total is not None and total > read + written:
        return total - read, True
    return None, False
