"""The admin of shared links: who can read which conversation, and an end to it."""

from __future__ import annotations

from typing import cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from chat.admin.redaction import Record
from chat.admin.site import ByUser, UserFilter
from chat.conversations.shares import revoke_all
from chat.models import Share, User


@admin.register(Share)
class ShareAdmin(Record, ByUser, admin.ModelAdmin[Share]):
    """Links to conversations: who made them, for whom, and until when. Their addresses are their owners' alone."""

    list_display = ("created_at", "show_owner", "audience", "goes_on", "reasoning", "tools", "expires_at", "revoked_at")
    list_filter = ("audience", ("revoked_at", admin.EmptyFieldListFilter), ("conversation__user", UserFilter))
    list_select_related = ("conversation__user",)
    search_fields = ("conversation__user__username", "=conversation__id")
    date_hierarchy = "created_at"
    fields = readonly_fields = ("id", "show_owner", "conversation_id", *list_display[2:], "created_at")
    actions = ("revoke",)

    @admin.display(ordering="conversation__user__username", description="owner")
    def show_owner(self, share: Share) -> str:
        return share.conversation.user.get_username()

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm("chat.change_share")

    @admin.action(description="Revoke the selected links", permissions=["revoke"])
    def revoke(self, request: HttpRequest, selected: QuerySet[Share]) -> None:
        """Make links of any user's lead nowhere."""
        count = revoke_all(selected)
        messages.success(request, f"{count} link{'' if count == 1 else 's'} revoked.")
