"""Effort: how much a model thinks, in three levels for people and in each provider's own words behind them."""

from __future__ import annotations

from django.conf import settings

from chat.conversations.refusals import find_known_capabilities
from chat.core.errors import RefusedError
from chat.models import Conversation
from chat.providers.capabilities import Capabilities

LEVELS = {"fast": "Fast", "balanced": "Balanced", "thorough": "Thorough"}
"""The levels and their labels, from the least effort to the most."""


class InvalidEffortError(RefusedError):
    """The model takes no effort, or not this one."""

    status, code, field = 400, "bad_request", "effort"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def find_words_by_level(capabilities: Capabilities) -> dict[str, str]:
    """Return the provider's word for each level that the model has; empty when it takes no effort.

    Balanced is the model's default. Where that is the least or the most effort already, it is the middle one.
    """
    efforts = capabilities.efforts
    if not efforts:
        return {}
    default = capabilities.default_effort
    balanced = default if default in efforts[1:-1] else efforts[len(efforts) // 2]
    if len(efforts) == 1:
        return {"balanced": efforts[0]}
    words = {"fast": efforts[0], "balanced": balanced, "thorough": efforts[-1]}
    return {
        level: word for level, word in words.items() if level != "balanced" or word not in (efforts[0], efforts[-1])
    }


def find_level(capabilities: Capabilities, effort: str) -> str:
    """Return the level of a provider's word, or of the model's default without one; empty if it takes no effort."""
    word = capabilities.choose_effort(effort) or capabilities.default_effort
    if word not in capabilities.efforts:
        return "balanced" if capabilities.efforts else ""
    by_word = {word: level for level, word in find_words_by_level(capabilities).items()}
    return by_word.get(word, "balanced")


def find_current_level(conversation: Conversation | None, model: str) -> str:
    """Return the level of the next answer by a `provider:model`, in a new conversation when none is given."""
    return (
        find_level(find_known_capabilities(model), choose_effort(conversation or Conversation(), model))
        if model
        else ""
    )


def label_effort(model: str, effort: str) -> str:
    """Return an effort as people read it, such as "Thorough (max)" or, between two levels, "xhigh"."""
    by_word = {word: level for level, word in find_words_by_level(find_known_capabilities(model)).items()}
    return f"{LEVELS[by_word[effort]]} ({effort})" if effort in by_word else effort


def find_wished_effort(conversation: Conversation, model: str) -> str:
    """Return the effort that a conversation wishes for, otherwise the site's for this `provider:model`; empty for none.

    The conversation's may be a word of another model's: the answer says so then. The site's is the nearest one that
    this model takes.
    """
    return conversation.effort or find_site_effort(model)


def find_site_effort(model: str) -> str:
    """Return the effort that the site has set for a `provider:model`, as a word that it takes; empty for none."""
    wish = settings.CHAT_EFFORT.get(model, "")
    return find_known_capabilities(model).choose_effort(wish) if wish else ""


def choose_effort(conversation: Conversation, model: str) -> str:
    """Return the provider's word that a `provider:model` is asked with; empty, the model's own choice."""
    wish = find_wished_effort(conversation, model)
    return find_known_capabilities(model).choose_effort(wish) if wish else ""


def explain_refused_temperature(model: str, effort: str) -> str:
    """Return why a `provider:model` takes no temperature with this effort; empty when it takes one."""
    capabilities, name = find_known_capabilities(model), model.partition(":")[2]
    if capabilities.takes_sampling(effort):
        return ""
    if "none" in capabilities.efforts:
        return f"{name} takes a temperature only with the effort “none”."
    return f"{name} does not take a temperature."


def read_effort(wish: str, model: str) -> str:
    """Return the provider's word for a wish, which is a level or such a word. Raises `InvalidEffortError`."""
    capabilities = find_known_capabilities(model)
    name = model.partition(":")[2]
    if not capabilities.efforts:
        raise InvalidEffortError(f"{name} does not take an effort.")
    word = find_words_by_level(capabilities).get(wish, wish)
    if word not in capabilities.efforts:
        known = ", ".join((*find_words_by_level(capabilities), *capabilities.efforts))
        raise InvalidEffortError(f"{name} takes one of these efforts: {known}.")
    return word


def change_effort(conversation: Conversation, model: str, wish: str) -> None:
    """Set the effort of a conversation from a wish, which is a level or a provider's word.

    A level that the conversation has already, by its own effort or the site's, changes nothing: the picker of the page
    always sends one. Raises `InvalidEffortError`.
    """
    if wish in LEVELS and wish == find_level(find_known_capabilities(model), choose_effort(conversation, model)):
        return
    conversation.effort = read_effort(wish, model)
