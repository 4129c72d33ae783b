"""The reasons that the world's servers give for an answer's end, in this site's words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chat.core.events import FinishReason


@dataclass(frozen=True, slots=True)
class Ending:
    """An answer's end as its server said it.

    `reason` is None when it is no good end: the answer broke off, or nobody knows what the word means. `may_pass` says
    whether the same question may well be answered when it is asked again at once.
    """

    original: str
    reason: FinishReason | None
    may_pass: bool = False

    def is_worse_than(self, other: Ending) -> bool:
        """Return whether this end leaves less of an answer."""
        return _RANKS.index(self.reason) > _RANKS.index(other.reason)


_RANKS: tuple[FinishReason | None, ...] = ("stop", "tool_calls", "length", "content_filter", None)


def _split_words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words as `_normalise` writes them: lower case, one underscore between parts.
_KNOWN: dict[FinishReason, frozenset[str]] = {
    "stop": _split_words(
        # OpenAI, Anthropic, Text Generation Inference, Together, Cohere, Bedrock's Titan and AI21
        "stop end_turn stop_sequence stop_sequences eos eos_token stop_token complete completed finish finished "
        "endoftext end_of_text stop_criteria_met stop_criteria done"
    ),
    "length": _split_words(
        # also Mistral, Zhipu, Cohere, xAI, watsonx, vLLM behind LiteLLM, OpenAI's Responses; Anthropic's pause_turn is
        # an answer that can be continued
        "length max_tokens max_length max_len max_context model_length model_context_window_exceeded "
        "context_window_exceeded context_length_exceeded context_length max_output_tokens max_completion_tokens "
        "max_new_tokens max_tokens_reached max_tokens_exceeded length_limit token_limit token_limit_reached "
        "error_limit output_limit pause_turn max_messages"
    ),
    "content_filter": _split_words(
        # also Gemini's safety reasons, Zhipu, Cohere, Bedrock, Vertex' Model Armor
        "content_filter content_filtered contentfilter content_policy content_policy_violation content_blocked "
        "content_moderation sensitive safety safety_filter refusal recitation blocklist blocked prohibited_content "
        "spii language image_safety image_prohibited_content image_recitation error_toxic toxic guardrail "
        "guardrail_intervened guardrails moderation moderated model_armor jailbreak censored flagged violation"
    ),
    "tool_calls": _split_words("tool_calls tool_call tool_use tooluse function_call function_calls"),
}
_REASONS: dict[str, FinishReason] = {word: reason for reason, words in _KNOWN.items() for word in words}

# Not an end: what some servers send while the answer continues, as if it were a word.
_NO_WORDS = frozenset({"", "null", "none", "undefined", "unspecified", "finish_reason_unspecified"})

# The answer broke off: OpenRouter, DeepSeek, vLLM, SGLang, Zhipu, Mistral, Cohere, Gemini, watsonx.
_PASSING = _split_words(
    "error network_error insufficient_system_resource abort aborted cancelled canceled user_cancel timeout time_limit "
    "overloaded server_error internal_error rate_limit rate_limit_exceeded unavailable connection_error other "
    "function_call_filter malformed_function_call malformed_tool_call malformed_tool_use malformed_model_output "
    "unexpected_tool_call model_error"
)


def read_ending(original: object) -> Ending | None:
    """Return what a `finish_reason` or `stop_reason` means; None when it says that the answer continues."""
    if type(original) is not str:
        return Ending(repr(original)[:80], None) if original else None
    known = _ENDINGS.get(original)
    return known if known is not None else _read(original)


def _read(original: str) -> Ending | None:
    word = _normalise(original)
    if word in _NO_WORDS:
        return None
    if (reason := _REASONS.get(word)) is not None:
        return Ending(original, reason)
    # "content_filter: PROHIBITED_CONTENT". What comes after a good end is another matter, which nobody knows.
    first = _normalise(re.split(r"[:;,/|( ]", original.strip(), maxsplit=1)[0])
    if (reason := _REASONS.get(first)) in ("length", "content_filter"):
        return Ending(original, reason)
    return Ending(original[:80], None, may_pass=word in _PASSING or first in _PASSING)


def _normalise(original: str) -> str:
    """Return `MAX_TOKENS`, `maxTokens`, `max-tokens` and `FinishReason.MAX_TOKENS` as `max_tokens`."""
    word = original.strip().strip("\"'").rpartition(".")[2]
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word)
    word = re.sub(r"[\s_-]+", "_", word).strip("_").lower()
    return re.sub("^(?:finish_reason|stop_reason|reason)_(?=.)", "", word)


_ENDINGS = {word: Ending(word, reason) for word, reason in _REASONS.items()}
