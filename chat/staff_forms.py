"""What the staff may ask of failed answers, in the address of a page and in its forms."""

from __future__ import annotations

from typing import Any

from django import forms

from chat import staff
from chat.errors import CODES
from chat.turns import new_turn

NEEDS_A_REASON = "Write a short reason. It is kept with the record."


class FilterForm(forms.Form):
    """Which failed answers; every field may be left out."""

    code = forms.ChoiceField(
        required=False, choices=[("", "Any code"), *((code, code.replace("_", " ")) for code in CODES)]
    )
    model = forms.ChoiceField(
        required=False, choices=lambda: [("", "Any model"), *((name, name) for name in staff.models_seen())]
    )
    user = forms.CharField(required=False, max_length=150, widget=forms.TextInput(attrs={"placeholder": "Any user"}))
    age = forms.ChoiceField(
        required=False, choices=[("", "Any time"), *((key, label) for key, (label, _) in staff.AGES.items())]
    )

    def wanted(self) -> staff.Filter:
        """What a valid form asks for."""
        return staff.Filter(**self.cleaned_data)


class ListForm(FilterForm):
    """The list's address: also whether to show what was dismissed."""

    state = forms.ChoiceField(required=False, choices=[("", "Open"), ("dismissed", "Dismissed")])

    def wanted(self) -> staff.Filter:
        asked = {name: value for name, value in self.cleaned_data.items() if name != "state"}
        return staff.Filter(**asked)


class ActionForm(FilterForm):
    """Retry or dismiss: one answer, or all that a filter finds and that had failed when its page was made."""

    answer = forms.UUIDField(required=False)
    until = forms.DateTimeField(required=False)
    turn = forms.UUIDField(required=False)
    reason = forms.CharField(max_length=200, error_messages={"required": NEEDS_A_REASON})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        cleaned["turn"] = cleaned.get("turn") or new_turn()
        return cleaned

    def wanted(self) -> staff.Filter:
        names = ("code", "model", "user", "age", "until", "answer")
        return staff.Filter(**{name: self.cleaned_data[name] for name in names})

    def sentence(self) -> str:
        """The first error, as one sentence."""
        return str(next(iter(self.errors.values()))[0])
