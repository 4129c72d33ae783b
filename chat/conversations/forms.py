"""Forms of a question and of a conversation's settings."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, cast

from django import forms
from django.conf import settings
from django.http import Http404
from django.utils import timezone

from chat.accounting.spending import find_rate
from chat.conversations.context_window import find_context_window
from chat.conversations.effort import (
    LEVELS,
    choose_effort,
    explain_refused_temperature,
    find_site_effort,
    find_words_by_level,
    label_effort,
)
from chat.conversations.refusals import find_known_capabilities
from chat.conversations.turns import Question
from chat.core.events import make_storable
from chat.core.lines import join_lines
from chat.models import Conversation, TitledBy


class TextField(forms.CharField):
    """Text that both databases can hold, with the line ends of a textarea made plain."""

    def to_python(self, value: Any) -> str | None:
        text = super().to_python(value)
        return text and make_storable(text).replace("\r\n", "\n")


class MessageForm(forms.Form):
    """A question as the page and the API send it. `turn` makes sending it twice harmless."""

    content = TextField(
        strip=False,
        widget=forms.Textarea(attrs={"rows": 1, "placeholder": "Ask anything"}),
        error_messages={"required": "Write a message first."},
    )
    model = forms.ChoiceField(
        required=False,
        error_messages={"invalid_choice": "This site does not offer that model."},
    )
    effort = forms.CharField(required=False, max_length=20)
    turn = forms.UUIDField(required=False, widget=forms.HiddenInput)
    conversation = forms.UUIDField(required=False, widget=forms.HiddenInput)
    edits = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, models: Sequence[str], **kwargs: Any) -> None:
        """Offer these `models`, the default first."""
        super().__init__(*args, **kwargs)
        self.models = models
        cast("forms.ChoiceField", self.fields["model"]).choices = [(name, name.partition(":")[2]) for name in models]

    def clean_content(self) -> str:
        content: str = self.cleaned_data["content"]
        if not content.strip():
            raise forms.ValidationError("Write a message first.", "required")
        limit = settings.CHAT_MAX_PROMPT_CHARS
        if len(content) > limit:
            raise forms.ValidationError(
                f"This message has {len(content):,} characters; at most {limit:,} are allowed.", "too_long"
            )
        return content

    def clean_model(self) -> str:
        if not self.models:
            raise forms.ValidationError("No model is available to you.", "no_model")
        return self.cleaned_data["model"] or self.models[0]

    def clean_turn(self) -> uuid.UUID:
        return self.cleaned_data["turn"] or uuid.uuid4()

    def take_question(self) -> Question:
        """Return the question of a valid form, which is not used any more after that."""
        fields = self.cleaned_data
        # The form and its bound fields hold each other: 6 KiB, until the garbage collector comes.
        self._bound_fields_cache.clear()  # type: ignore[attr-defined]  # it has no other way to let go
        return Question(fields["content"], fields["model"], fields["turn"], fields["edits"], effort=fields["effort"])

    @property
    def model_groups(self) -> list[ModelGroup]:
        """The models of the picker by their providers, in the order of the site; each with its levels of effort.

        A name that two providers have is followed by the provider's, as a closed picker shows no group.
        """
        chosen = self["model"].value() or next(iter(self.models), "")
        names = Counter(model.partition(":")[2] for model in self.models)
        groups: dict[str, list[ModelOption]] = {}
        for model in self.models:
            provider, _, name = model.partition(":")
            label = name if names[name] == 1 else f"{name} ({label_provider(provider)})"
            levels = json.dumps(find_words_by_level(find_known_capabilities(model)))
            option = ModelOption(model, label, levels, model == chosen, write_rate(model), describe_model(model))
            groups.setdefault(provider, []).append(option)
        return [ModelGroup(label_provider(provider), options) for provider, options in groups.items()]

    @property
    def has_efforts(self) -> bool:
        """True when any of the models has levels of effort."""
        return any(find_known_capabilities(model).efforts for model in self.models)

    @property
    def effort_options(self) -> list[EffortOption]:
        """The levels of effort that the chosen model has."""
        model = self["model"].value() or next(iter(self.models), "")
        if model not in self.models:
            return []
        chosen = self["effort"].value()
        return [
            EffortOption(level, f"{LEVELS[level]} ({word})", level == chosen)
            for level, word in find_words_by_level(find_known_capabilities(model)).items()
        ]

    def find_first_error(self) -> str:
        """Return the first error as a sentence for people."""
        return str(next(iter(self.errors.values()))[0])


class ModelOption(NamedTuple):
    """A model in the picker. `levels` maps the levels of effort that it has to its provider's words, as JSON."""

    value: str
    label: str
    levels: str
    is_chosen: bool
    rate: str
    """US dollars for a million tokens that it reads, and that it writes, as JSON; "" without a price."""
    facts: str
    """Its window and its prices for people; "" where neither is known."""


class ModelGroup(NamedTuple):
    """The models of one provider in the picker."""

    label: str
    options: list[ModelOption]


_PROVIDER_LABELS = {"openai": "OpenAI", "anthropic": "Anthropic", "demo": "Demo"}


def label_provider(provider: str) -> str:
    """Return a provider's name for people."""
    return _PROVIDER_LABELS.get(provider, provider)


def write_rate(model: str) -> str:
    """Return a model's prices for the page's estimate of a question."""
    rate = find_rate(model)
    if rate.input is None or rate.output is None:
        return ""
    return json.dumps([float(rate.input * 1_000_000), float(rate.output * 1_000_000)])


def describe_model(model: str) -> str:
    """Return how much a model reads and what it costs, for people; "" where neither is known."""
    window = find_context_window(model, settings.CHAT_CONTEXT_WINDOWS, find_known_capabilities(model).context_window)
    rate = find_rate(model)
    facts = [f"{window:,} tokens"] if window else []
    if rate.input is not None and rate.output is not None:
        facts.append(f"${rate.input * 1_000_000:,.2f} in, ${rate.output * 1_000_000:,.2f} out for a million")
    return " · ".join(facts)


class EffortOption(NamedTuple):
    """A level of effort in the picker, with the word of the chosen model's provider."""

    level: str
    label: str
    is_chosen: bool


class ConversationForm(forms.ModelForm[Conversation]):
    """The settings of a conversation, for the answers from now on."""

    system_prompt = TextField(
        required=False,
        max_length=20_000,
        label="System prompt",
        help_text="Replaces the site's own system prompt in this conversation.",
        widget=forms.Textarea(attrs={"rows": 5}),
    )

    class Meta:
        model = Conversation
        fields = ("title", "system_prompt", "temperature", "max_tokens", "effort")
        labels: ClassVar = {"max_tokens": "Longest answer"}
        help_texts: ClassVar = {
            "temperature": "From 0 (predictable) to 2 (varied). Leave empty for the model's default.",
            "max_tokens": "In tokens. Leave empty for the model's own limit.",
        }

    def __init__(self, *args: Any, model: str, **kwargs: Any) -> None:
        """Offer what this `provider:model`, that of the next answer, takes; grey out the rest and say why."""
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        self.fields["effort"] = self._make_effort_field(model)
        reason = explain_refused_temperature(model, choose_effort(self.instance, model)) if model else ""
        if reason:
            self.fields["temperature"].disabled = True
            self.fields["temperature"].help_text = reason

    def save_fields(self) -> None:
        """Save what was changed and nothing else: another device may have changed, or deleted, the rest meanwhile."""
        changed = {name: self.cleaned_data[name] for name in self.changed_data}
        if "title" in changed:
            changed["title"] = join_lines(changed["title"])
            # Without a title of its user's, the next question gives one.
            changed["titled_by"] = TitledBy.USER if changed["title"] else ""
        own = Conversation.objects.owned_by(self.instance.user).filter(pk=self.instance.pk)
        if changed and not own.update(**changed, updated_at=timezone.now()):
            raise Http404

    def _make_effort_field(self, model: str) -> forms.ChoiceField:
        capabilities = find_known_capabilities(model)
        default = find_site_effort(model) or capabilities.default_effort
        own = f"The site's default: {label_effort(model, default)}" if default else "The model's default"
        words = dict.fromkeys((*capabilities.efforts, *filter(None, [self.instance.effort])))
        return forms.ChoiceField(
            required=False,
            choices=[("", own), *((word, label_effort(model, word)) for word in words)],
            disabled=not capabilities.efforts,
            help_text="How much the model thinks before it answers. More takes longer and costs more."
            if capabilities.efforts
            else f"{model.partition(':')[2] or 'This site'} does not take an effort.",
        )
