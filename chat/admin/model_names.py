"""Names of models in the admin: picked from those that are known, and a name that nothing knows is pointed out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from chat.accounting.selections import list_models


def list_known_models() -> list[str]:
    """Return the site's models, and those that the ledger has ever counted."""
    return list(dict.fromkeys([*settings.CHAT_MODELS, *list_models()]))


class ModelNameInput(forms.TextInput):
    """A box for a `provider:model` with a list of those that are known; others can be typed."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        key = f"known-{name}"
        box = super().render(name, value, {**(attrs or {}), "list": key, "size": "60"}, renderer)
        options = format_html_join("", '<option value="{}">', ((known,) for known in list_known_models()))
        return format_html('{}<datalist id="{}">{}</datalist>', box, key, options)


class PicksModel(admin.ModelAdmin[Any]):
    """Rows of one model each, in a field `model`."""

    def formfield_for_dbfield(self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "model":
            kwargs["widget"] = ModelNameInput()
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if obj.model not in list_known_models():
            messages.warning(
                request, f"The site has no model {obj.model}, and never had: this counts once it has one of that name."
            )
