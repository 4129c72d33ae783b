"""Fallbacks in the admin: which models are asked where another one is not available."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin

from chat.models import ModelFallback


class ChainField(forms.CharField):
    """Models as lines of a text."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 60})

    def prepare_value(self, value: Any) -> Any:
        """Return a chain as lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the lines as a chain."""
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether other models are given than before."""
        return bool((initial or []) != self.to_python(data))


class FallbackForm(forms.ModelForm[ModelFallback]):
    """A chain, whose models are all the site's."""

    chain = ChainField(
        required=False,
        help_text="provider:model, one a line; the first is asked first. Empty: none, whatever CHAT_FALLBACKS says.",
    )

    class Meta:
        model = ModelFallback
        fields = ("model", "chain")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (field := self.fields.get("model")) is not None:  # it may be read only
            others = filter(None, (settings.CHAT_TITLE_MODEL, self.instance.model))
            offered = dict.fromkeys([*settings.CHAT_MODELS, *others])
            self.fields["chain"].help_text += f" The site has {', '.join(settings.CHAT_MODELS)}."
            field.widget = forms.Select(choices=[("", "choose a model"), *((name, name) for name in offered)])

    def clean(self) -> None:
        """Refuse models that the site does not have, and a model that is named twice."""
        model, chain = self.cleaned_data.get("model"), self.cleaned_data.get("chain") or []
        if unknown := [name for name in chain if name not in settings.CHAT_MODELS]:
            known = ", ".join(settings.CHAT_MODELS)
            self.add_error("chain", f"The site has no {', '.join(unknown)}. Its models are {known}.")
        if model in chain or len(set(chain)) < len(chain):
            self.add_error("chain", "Name each model once, and not the one that is not available.")


@admin.register(ModelFallback)
class ModelFallbackAdmin(admin.ModelAdmin[ModelFallback]):
    """Chains of models; a change counts within seconds."""

    form = FallbackForm
    list_display = ("model", "show_chain")
    search_fields = ("model",)

    @admin.display(description="asked instead, in this order")
    def show_chain(self, fallback: ModelFallback) -> str:
        """Return the chain in one line."""
        return " > ".join(fallback.chain) or "none"
