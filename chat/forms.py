"""What may be asked, and in which words it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings

from chat.events import storable
from chat.models import Conversation
from chat.turns import Question


class TextField(forms.CharField):
    """Text that both databases can hold, with the line ends of a textarea made plain."""

    def to_python(self, value: Any) -> str | None:
        text = super().to_python(value)
        return text and storable(text).replace("\r\n", "\n")


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
    turn = forms.UUIDField(required=False, widget=forms.HiddenInput)
    conversation = forms.UUIDField(required=False, widget=forms.HiddenInput)
    edits = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, models: Sequence[str], **kwargs: Any) -> None:
        """`models` are those that the user may choose, the default first."""
        super().__init__(*args, **kwargs)
        self.models = models
        cast("forms.ChoiceField", self.fields["model"]).choices = [(name, name.partition(":")[2]) for name in models]

    def clean_content(self) -> str:
        content: str = self.cleaned_data["content"]
        if not content.strip():
            raise forms.ValidationError("Write a message first.", "required")
        most = settings.CHAT_MAX_PROMPT_CHARS
        if len(content) > most:
            raise forms.ValidationError(
                f"This message has {len(content):,} characters; at most {most:,} are allowed.", "too_long"
            )
        return content

    def clean_model(self) -> str:
        if not self.models:
            raise forms.ValidationError("There is no model that you may use.", "no_model")
        return self.cleaned_data["model"] or self.models[0]

    def clean_turn(self) -> uuid.UUID:
        return self.cleaned_data["turn"] or uuid.uuid4()

    def question(self) -> Question:
        """What a valid form asks. The form has done its work then."""
        asked = self.cleaned_data
        # The form and its bound fields hold each other: 6 KiB, until the garbage collector comes.
        self._bound_fields_cache.clear()  # type: ignore[attr-defined]  # it has no other way to let go
        return Question(asked["content"], asked["model"], asked["turn"], asked["edits"])

    def sentence(self) -> str:
        """The first error, as one sentence."""
        return str(next(iter(self.errors.values()))[0])


if TYPE_CHECKING:
    ConversationBase = forms.ModelForm[Conversation]
else:
    ConversationBase = forms.ModelForm


class ConversationForm(ConversationBase):
    """How a conversation is to be answered from now on."""

    system_prompt = TextField(
        required=False,
        max_length=20_000,
        label="What the model is told first",
        help_text="In place of what the site tells it.",
        widget=forms.Textarea(attrs={"rows": 5}),
    )

    class Meta:
        model = Conversation
        fields = ("title", "system_prompt", "temperature", "max_tokens")
