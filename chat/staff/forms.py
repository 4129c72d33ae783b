"""Forms of the staff's pages: filters in an address, and actions on failed answers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django import forms

from chat.accounts.model_registry import list_offered_models
from chat.conversations.turn_ids import make_turn_id
from chat.core.errors import CODES
from chat.models import RetryBatch
from chat.staff import failures
from chat.staff.batches import Wish

NEEDS_A_CHOICE = "Tick the answers first."
NEEDS_A_REASON = "Write a short reason. It is recorded."


class FilterForm(forms.Form):
    """A filter of failed answers; every field may be left out."""

    code = forms.ChoiceField(
        required=False, choices=[("", "Any code"), *((code, code.replace("_", " ")) for code in CODES)]
    )
    model = forms.ChoiceField(required=False)
    user = forms.CharField(required=False, max_length=150, widget=forms.TextInput(attrs={"placeholder": "Any user"}))
    age = forms.ChoiceField(
        required=False, choices=[("", "Any time"), *((key, label) for key, (label, _) in failures.AGES.items())]
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Once for a form, which is checked with them and shows them: 12 ms with 125,000 failed answers.
        load_names = cache(failures.load_model_names)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = lambda: [("", "Any model"), *((name, name) for name in load_names())]

    def to_filter(self) -> failures.Filter:
        """Return the filter of a valid form."""
        return failures.Filter(**self.cleaned_data)


class ListForm(FilterForm):
    """The address of the list: a filter, and whether to show the open, the recovered or the dismissed answers."""

    state = forms.ChoiceField(
        required=False, choices=[("", "Open"), ("recovered", "Continued automatically"), ("dismissed", "Dismissed")]
    )

    def to_filter(self) -> failures.Filter:
        fields = {name: value for name, value in self.cleaned_data.items() if name != "state"}
        return failures.Filter(**fields)


class TickedAnswers(forms.Field):
    """The ids of answers that were ticked in a list."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> tuple[UUID, ...]:
        """Return the ids; raise `ValidationError` for anything else."""
        try:
            return tuple(UUID(str(each)) for each in value or ())
        except ValueError:
            raise forms.ValidationError(NEEDS_A_CHOICE) from None


class MomentField(forms.DateTimeField):
    """A moment that a database takes: one of the years 1 to 9999 of UTC."""

    def to_python(self, value: Any) -> datetime | None:
        """Return the moment in UTC; raise `ValidationError` for anything else."""
        moment = super().to_python(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class ActionForm(FilterForm):
    """A retry or a dismissal: of one answer, of those that are ticked, or of all in a filter.

    All in a filter are those that had failed when its page was made, and of a long list those that it showed.
    """

    answer = forms.UUIDField(required=False)
    answers = TickedAnswers(required=False)
    is_choice = forms.BooleanField(required=False)
    since = MomentField(required=False)
    until = MomentField(required=False)
    turn = forms.UUIDField(required=False)
    reason = forms.CharField(max_length=200, error_messages={"required": NEEDS_A_REASON})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        cleaned["turn"] = cleaned.get("turn") or make_turn_id()
        if cleaned.get("is_choice") and not cleaned.get("answers"):  # which would be all of them
            self.add_error("answers", NEEDS_A_CHOICE)
        return cleaned

    def to_filter(self) -> failures.Filter:
        names = ("code", "model", "user", "age", "since", "until", "answer", "answers")
        return failures.Filter(**{name: self.cleaned_data[name] for name in names})

    def find_first_error(self) -> str:
        """Return the first error as a sentence for people."""
        return str(next(iter(self.errors.values()))[0])


class RetryForm(ActionForm):
    """A retry: with which model, in which order, and whether those that are unlikely to succeed are tried too."""

    with_model = forms.ChoiceField(
        required=False,
        label="Model",
        choices=lambda: [("", "The model of each answer"), *((name, name) for name in list_offered_models())],
        error_messages={"invalid_choice": "This model is not offered any more. Choose another one."},
    )
    plan = forms.ChoiceField(required=False, choices=RetryBatch.Plan.choices)
    is_lasting = forms.BooleanField(required=False)

    def to_wish(self) -> Wish:
        """Return what is asked for. A single answer and ticked ones are retried whatever their code."""
        cleaned = self.cleaned_data
        is_named = bool(cleaned["answer"] or cleaned["answers"])
        plan = RetryBatch.Plan(cleaned["plan"] or RetryBatch.Plan.ALL)
        return Wish(cleaned["reason"], cleaned["with_model"], plan, cleaned["is_lasting"] or is_named)
