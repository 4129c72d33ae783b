"""Redaction in the admin: fields are blank without a permission, and each reading is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse

from chat.conversations.readings import READ_CONVERSATIONS, record_reading
from chat.models import (
    Message,
    Reading,
    User,
)


class ReadOnly:
    """An admin of records, which are neither added nor changed here."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False


class Record(ReadOnly):
    """An admin of records that cannot be deleted either."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def may_read(request: HttpRequest) -> bool:
    """Return whether the request's user may read conversations."""
    return cast("User", request.user).has_perm(READ_CONVERSATIONS)


class Veiled(admin.ModelAdmin[Any]):
    """An admin that shows what was said only to users who may read it, and records each reading.

    Without the permission the fields are not asked for, not searched, not filtered by in an address, and are blank in
    whatever the admin writes about the object.
    """

    veiled: ClassVar[dict[str, Any]] = {}
    """The fields, with the values that stand in them instead."""
    veiled_search: tuple[str, ...] = ()
    """The fields that only a reader may search."""

    def load_messages(self, obj: Any) -> Iterable[Message]:
        """Return the messages that the object's page shows."""
        raise NotImplementedError

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        if obj is not None and not may_read(request):
            for name, blank in self.veiled.items():
                setattr(obj, name, blank)
        return obj

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)
        return fields if may_read(request) else [name for name in fields if name not in self.veiled]

    def get_search_fields(self, request: HttpRequest) -> Any:
        found = super().get_search_fields(request)
        return [*found, *self.veiled_search] if may_read(request) else found

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse lookups like `?text__startswith=a`, which would tell the text letter by letter."""
        if lookup.partition("__")[0] in self.veiled and not may_read(request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let only readers delete: the page that asks for confirmation names everything that would go."""
        return may_read(request) and super().has_delete_permission(request, obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if may_read(request) and self.has_view_permission(request):
            obj = self.get_object(request, unquote(object_id))
            if obj is not None:
                record_reading(cast("User", request.user), self.load_messages(obj), Reading.Place.ADMIN)
        return super().change_view(request, object_id, form_url, extra_context)
