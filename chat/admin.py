"""The admin: users, conversations, the ledger and the record of what the staff did, to be read.

Nothing here writes to an answer. What was said is shown only to those with `chat.read_conversations`, on the page of
one message or of one conversation, and each time is noted down (`Reading`). Titles are for them too, and in their
lists they are not noted. Others find messages by everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from asgiref.sync import async_to_sync
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from chat import health, staff
from chat.errors import CODES
from chat.models import (
    Allowance,
    ApiToken,
    Conversation,
    Dismissal,
    Limit,
    Message,
    ModelAccess,
    ModelHealth,
    ModelPrice,
    ProviderCall,
    Reading,
    RetryBatch,
    User,
)

admin.site.site_header = "Chatsite"
admin.site.site_title = "Chatsite"

if TYPE_CHECKING:
    ConversationBase = admin.ModelAdmin[Conversation]
    MessageBase = admin.ModelAdmin[Message]
    CallBase = admin.ModelAdmin[ProviderCall]
    TokenBase = admin.ModelAdmin[ApiToken]
    PriceBase = admin.ModelAdmin[ModelPrice]
    AccessBase = admin.ModelAdmin[ModelAccess]
    LimitBase = admin.ModelAdmin[Limit]
    AllowanceBase = admin.ModelAdmin[Allowance]
    ReadingBase = admin.ModelAdmin[Reading]
    DismissalBase = admin.ModelAdmin[Dismissal]
    BatchBase = admin.ModelAdmin[RetryBatch]
    HealthBase = admin.ModelAdmin[ModelHealth]
    AnyBase = admin.ModelAdmin[Any]
    MessageInlineBase = admin.TabularInline[Message, Conversation]
    AccountBase = UserAdmin[User]
else:
    ConversationBase = MessageBase = CallBase = TokenBase = HealthBase = PriceBase = AccessBase = admin.ModelAdmin
    ReadingBase = DismissalBase = BatchBase = LimitBase = AllowanceBase = admin.ModelAdmin
    MessageInlineBase = admin.TabularInline
    AccountBase = UserAdmin
    AnyBase = object


class ReadOnly:
    """What is said and what was spent is a record: it is neither written nor changed here."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False


class Record(ReadOnly):
    """And this one has no eraser either."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def may_read(request: HttpRequest) -> bool:
    return cast("User", request.user).has_perm(staff.READ)


class UserFilter(admin.RelatedFieldListFilter):
    """A list's filter by user that looks names up as they are typed, where a list of all users would be too long."""

    template = "admin/chat/user_filter.html"

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, request, *args, **kwargs)
        self.field = field
        self.request = request

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        return []

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: Any) -> Any:
        self.others = [
            (name, value) for name, value in self.request.GET.items() if name not in (self.lookup_kwarg, "p")
        ]
        return []

    def widget(self) -> SafeString:
        """The box, with the user who is chosen."""
        chosen = self.used_parameters.get(self.lookup_kwarg)
        users = User.objects.all()
        box = forms.ModelChoiceField(users, required=False, widget=AutocompleteSelect(self.field, admin.site))
        value = chosen[0] if isinstance(chosen, list) and chosen else chosen
        html: SafeString = box.widget.render(self.lookup_kwarg, value, {"id": f"filter-{self.lookup_kwarg}"})
        return html


class ByUser(AnyBase):
    """A list with a `UserFilter` needs its script."""

    @property
    def media(self) -> forms.Media:
        return super().media + AutocompleteSelect(Conversation._meta.get_field("user"), admin.site).media


class Veiled(AnyBase):
    """What was said is only for those who may read it, and they leave a note of each reading.

    Without the permission the fields are not asked for, not searched, not filtered by in an address, and are blank in
    whatever the admin writes about the object.
    """

    veiled: ClassVar[dict[str, Any]] = {}
    """The fields, with what stands in them instead."""
    veiled_search: tuple[str, ...] = ()
    """What only a reader may search."""

    def messages_of(self, obj: Any) -> Iterable[Message]:
        """What the object's page shows."""
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
        """`?text__startswith=a` would tell the text letter by letter."""
        if lookup.partition("__")[0] in self.veiled and not may_read(request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The page that asks whether one is sure names everything that would go."""
        return may_read(request) and super().has_delete_permission(request, obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if may_read(request) and self.has_view_permission(request):
            obj = self.get_object(request, unquote(object_id))
            if obj is not None:
                staff.read(cast("User", request.user), self.messages_of(obj), Reading.Place.ADMIN)
        return super().change_view(request, object_id, form_url, extra_context)


@admin.register(User)
class AccountAdmin(AccountBase):
    date_hierarchy = "date_joined"


class MessageInline(ReadOnly, MessageInlineBase):
    model = Message
    fields = readonly_fields = ("created_at", "role", "status", "error_code", "model", "text")
    show_change_link = True
    can_delete = False

    def get_fields(self, request: HttpRequest, obj: Conversation | None = None) -> Any:
        return self.fields if may_read(request) else self.fields[:-1]


@admin.register(Conversation)
class ConversationAdmin(Veiled, ReadOnly, ByUser, ConversationBase):
    list_filter = (("user", UserFilter),)
    list_select_related = ("user",)
    search_fields = ("user__username",)
    veiled: ClassVar[dict[str, Any]] = {"title": ""}
    veiled_search = ("title", "messages__text")
    date_hierarchy = "created_at"
    fields = ("id", "title", "user", "created_at", "updated_at")
    readonly_fields = ("id", "created_at", "updated_at")
    inlines = (MessageInline,)

    def get_list_display(self, request: HttpRequest) -> Any:
        return ("title" if may_read(request) else "id", "user", "created_at", "updated_at")

    def messages_of(self, obj: Conversation) -> Iterable[Message]:
        return obj.messages.select_related("conversation").defer("text", "reasoning", "outline")


@admin.register(Message)
class MessageAdmin(Veiled, ReadOnly, ByUser, MessageBase):
    list_display = ("created_at", "user", "role", "status", "error_code", "model", "first_token_ms", "total_ms")
    list_filter = ("status", "error_code", "role", "model", ("conversation__user", UserFilter))
    list_select_related = ("conversation__user",)
    search_fields = ("conversation__user__username",)
    veiled: ClassVar[dict[str, Any]] = {"text": "", "reasoning": "", "outline": []}
    veiled_search = ("text", "conversation__title")
    date_hierarchy = "created_at"
    exclude = ("conversation", "parent")
    readonly_fields = ("user", "created_at")

    def messages_of(self, obj: Message) -> Iterable[Message]:
        return [obj]

    @admin.display(ordering="conversation__user__username")
    def user(self, message: Message) -> str:
        return message.conversation.user.get_username()


@admin.register(ProviderCall)
class ProviderCallAdmin(Record, ByUser, CallBase):
    list_display = (
        "started_at",
        "user",
        "model",
        "purpose",
        "billed_to",
        "outcome",
        "error_code",
        "input_tokens",
        "output_tokens",
        "estimated",
        "cost",
        "first_token_ms",
        "total_ms",
    )
    list_filter = ("outcome", "error_code", "estimated", "purpose", "billed_to", "model", ("user", UserFilter))
    list_select_related = ("user",)
    search_fields = ("user__username", "requested_by__username", "model")
    date_hierarchy = "started_at"


@admin.register(ApiToken)
class ApiTokenAdmin(TokenBase):
    """Tokens are made by `manage.py apitoken` and taken back here."""

    list_display = ("name", "user", "created_at")
    list_select_related = ("user",)
    fields = ("user", "name", "created_at")
    readonly_fields = ("user", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(ModelAccess)
class ModelAccessAdmin(AccessBase):
    """Models that only some groups may use; a model without a row is for everybody."""

    list_display = ("model",)
    filter_horizontal = ("groups",)


@admin.register(ModelPrice)
class ModelPriceAdmin(PriceBase):
    """US dollars for a million tokens, where the published price is not the site's."""

    list_display = ("model", "since", "input", "output", "cached")
    list_filter = ("model",)
    search_fields = ("model",)


class KindFilter(admin.SimpleListFilter):
    """Limits of users, or of groups."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("user", "Of a user"), ("group", "Of a group")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Limit]) -> QuerySet[Limit]:
        return queryset.filter(**{f"{self.value()}__isnull": False}) if self.value() in {"user", "group"} else queryset


@admin.register(Limit)
class LimitAdmin(LimitBase):
    """What users and groups may use; chat.quotas says which limit counts."""

    list_display = ("__str__", "requests_per_minute", "live_answers", "tokens_per_day", "cost_per_month")
    list_filter = (KindFilter,)  # a group has one limit
    list_select_related = ("user", "group")
    empty_value_display = "inherited"
    search_fields = ("user__username", "group__name")
    autocomplete_fields = ("user", "group")
    fieldsets = (
        (None, {"fields": ("user", "group"), "description": "A limit is of one user, or of every user of a group."}),
        (
            "Figures",
            {
                "fields": ("requests_per_minute", "live_answers", "tokens_per_day", "cost_per_month"),
                "description": "Empty: as the user's groups, or else the site, have it. 0: no limit. A user's own "
                "figure counts before those of groups; of several groups the most generous one counts.",
            },
        ),
    )


@admin.register(Allowance)
class AllowanceAdmin(ReadOnly, AllowanceBase):
    """How far the limits are used; a window that has ended is begun anew with the user's next question."""

    list_display = ("user", "day", "tokens", "cost", "minute", "requests")
    list_filter = ("day",)
    list_select_related = ("user",)
    search_fields = ("user__username",)
    ordering = ("-day", "-tokens")


# What the staff did


@admin.register(Reading)
class ReadingAdmin(Record, ByUser, ReadingBase):
    list_display = ("at", "reader_name", "owner", "message_key", "place")
    list_filter = ("place", ("reader", UserFilter))
    list_select_related = ("owner",)
    search_fields = ("reader_name", "owner__username")
    date_hierarchy = "at"


@admin.register(Dismissal)
class DismissalAdmin(Record, ByUser, DismissalBase):
    list_display = ("at", "by", "note", "code", "answered_by", "undone_at", "undone_by")
    list_filter = (("by", UserFilter),)
    list_select_related = ("by", "undone_by", "answer")
    search_fields = ("note", "by__username")
    date_hierarchy = "at"

    @admin.display(ordering="answer__error_code")
    def code(self, dismissal: Dismissal) -> str:
        return dismissal.answer.error_code

    @admin.display(ordering="answer__model", description="model")
    def answered_by(self, dismissal: Dismissal) -> str:
        return dismissal.answer.model


@admin.register(RetryBatch)
class RetryBatchAdmin(Record, ByUser, BatchBase):
    list_display = ("created_at", "requested_by", "scope", "reason", "finished_at", "stopped_by")
    list_filter = (("requested_by", UserFilter),)
    list_select_related = ("requested_by", "stopped_by")
    search_fields = ("reason", "requested_by__username")
    date_hierarchy = "created_at"

    def get_view_on_site_url(self, obj: RetryBatch | None = None) -> str | None:
        """The batch's own page, with its progress."""
        return obj.get_absolute_url() if obj else None


# Models and how they do


@admin.register(ModelHealth)
class ModelHealthAdmin(Record, HealthBase):
    """One page, made of the ledger: the site's models, what became of their calls, and a button that makes one."""

    def get_urls(self) -> list[URLPattern]:
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name="chat_modelhealth_changelist"),
            path("test/", self.admin_site.admin_view(self.test_view), name="chat_modelhealth_test"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Model health",
            "opts": self.opts,
            "models": health.catalogue(),
            "may_test": self.may_test(request),
        }
        return TemplateResponse(request, "admin/chat/model_health.html", context)

    def may_test(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm("chat.test_model")

    def test_view(self, request: HttpRequest) -> HttpResponse:
        if not (self.has_view_permission(request) and self.may_test(request)):
            raise PermissionDenied
        model = request.POST.get("model", "")
        if request.method != "POST" or model not in settings.CHAT_MODELS:
            raise Http404
        found = async_to_sync(health.test)(model, cast("User", request.user))
        if found.code:
            messages.error(request, f"Test of {model}: {found.code}. {CODES[found.code].message}")
        else:
            said = found.text[:80] or "(nothing)"
            messages.success(request, f"Test of {model}: answered in {found.milliseconds} ms: {said}")
        return redirect("admin:chat_modelhealth_changelist")
