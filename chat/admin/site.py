"""The admin: users, conversations, the ledger and the record of what the staff did, to be read.

Nothing here writes to an answer. What was said is shown only to those with `chat.read_conversations`, on the page of
one message or of one conversation, and each time is noted down (`Reading`). Titles are for them too, and in their
lists they are not noted. Others find messages by everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any, ClassVar, cast

from asgiref.sync import async_to_sync
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from chat.accounting.formatting import write_amount, write_dollars
from chat.accounts.model_registry import list_retirement_notices
from chat.accounts.user_names import find_few_users
from chat.admin import model_health
from chat.admin.large_lists import CallErrorFilter, CauseFilter, ErrorCodeFilter, LargeList, ModelFilter
from chat.admin.model_names import PicksModel, list_known_models
from chat.admin.redaction import ReadOnly, Record, may_read
from chat.admin.text_search import FindsTexts, Words, match_conversations, match_messages
from chat.conversations import refusals
from chat.core.errors import CODES
from chat.models import (
    ApiToken,
    BatchLogEntry,
    Conversation,
    Dismissal,
    Limit,
    Message,
    Meter,
    ModelAccess,
    ModelHealth,
    ModelPrice,
    Outcome,
    ProviderCall,
    Reading,
    RetryBatch,
    User,
)
from chat.templatetags.figures import write_milliseconds


class UserBox(AutocompleteSelect):
    """Django's box, which has a name for those who do not see it only by its placeholder."""

    def build_attrs(self, base_attrs: dict[str, Any], extra_attrs: dict[str, Any] | None = None) -> dict[str, Any]:
        return super().build_attrs(base_attrs, extra_attrs) | {"data-placeholder": "Any user"}


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

    @property
    def is_unknown(self) -> bool:
        """True when the address asks for a user who does not exist."""
        value = self._find_chosen()
        return bool(value) and not (str(value).isdigit() and User.objects.filter(pk=value).exists())

    def _find_chosen(self) -> Any:
        chosen = self.used_parameters.get(self.lookup_kwarg)
        return chosen[0] if isinstance(chosen, list) and chosen else chosen

    def render_box(self) -> SafeString:
        """Render the box, with the user who is chosen."""
        users = User.objects.all()
        box = forms.ModelChoiceField(users, required=False, widget=UserBox(self.field, admin.site))
        html: SafeString = box.widget.render(
            self.lookup_kwarg, self._find_chosen(), {"id": f"filter-{self.lookup_kwarg}"}
        )
        return html


class ByUser(admin.ModelAdmin[Any]):
    """A list with a `UserFilter` needs its script."""

    @property
    def media(self) -> forms.Media:
        return super().media + AutocompleteSelect(Conversation._meta.get_field("user"), admin.site).media


class DeletesOneByOne(admin.ModelAdmin[Any]):
    """A list whose rows are deleted one after the other: all at once would go past their `delete`, which locks them."""

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            row.delete()


@admin.register(User)
class AccountAdmin(DeletesOneByOne, UserAdmin[User]):
    """Users, with Django's own pages."""

    date_hierarchy = "date_joined"


class MessageInline(ReadOnly, admin.TabularInline[Message, Conversation]):
    """The messages on a conversation's page."""

    model = Message
    fields = readonly_fields = ("created_at", "role", "status", "error_code", "interrupted_by", "model", "text")
    show_change_link = True
    can_delete = False

    def get_fields(self, request: HttpRequest, obj: Conversation | None = None) -> Any:
        return self.fields if may_read(request) else self.fields[:-1]


@admin.register(Conversation)
class ConversationAdmin(ReadOnly, DeletesOneByOne, ByUser, FindsTexts):
    """Conversations, without what was said unless the reader may read it."""

    view_on_site = False  # only its owner sees its page
    list_filter = (("user", UserFilter),)
    list_select_related = ("user",)
    search_fields = ("user__username",)
    veiled: ClassVar[dict[str, Any]] = {"title": ""}
    veiled_search = ("title", "messages__text")
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-pk")
    fields = ("id", "title", "user", "created_at", "updated_at")
    readonly_fields = ("id", "created_at", "updated_at")
    inlines = (MessageInline,)

    def get_list_display(self, request: HttpRequest) -> Any:
        return ("title" if may_read(request) else "id", "user", "created_at", "updated_at")

    def match_words(self, words: Words) -> Q:
        return match_conversations(words)

    def load_messages(self, obj: Conversation) -> Iterable[Message]:
        return obj.messages.select_related("conversation").defer("text", "reasoning", "outline")


@admin.register(Message)
class MessageAdmin(ReadOnly, ByUser, FindsTexts):
    """Messages, without their text unless the reader may read it."""

    list_display = (
        "created_at",
        "show_user",
        "role",
        "status",
        "error_code",
        "interrupted_by",
        "model",
        "total_ms",
    )
    list_filter = ("status", ErrorCodeFilter, "role", ModelFilter, ("conversation__user", UserFilter))
    list_select_related = ("conversation__user",)
    ordering = ("-created_at", "-pk")
    search_fields = ("conversation__user__username",)
    veiled: ClassVar[dict[str, Any]] = {"text": "", "reasoning": "", "outline": []}
    veiled_search = ("text", "conversation__title")
    date_hierarchy = "created_at"
    exclude = ("conversation", "parent")
    readonly_fields = ("show_user", "created_at")

    def match_words(self, words: Words) -> Q:
        return match_messages(words)

    def load_messages(self, obj: Message) -> Iterable[Message]:
        return [obj]

    @admin.display(ordering="conversation__user__username", description="user")
    def show_user(self, message: Message) -> str:
        return message.conversation.user.get_username()


def match_word(word: str) -> Q:
    """Return the condition that a call has a word in its user's or model's name, or failed with it as its request id.

    Names are looked up first, and their calls by an index: Django compares the word with the names of every call.
    """
    users = find_few_users(word)
    named = Q()
    if users is None:
        named = Q(user__username__icontains=word) | Q(requested_by__username__icontains=word)
    elif users:
        requested = Q(requested_by__in=users)
        if connection.vendor == "sqlite":
            # By their keys: nobody asked for most calls, of which SQLite concludes that an index of who did is no help.
            requested = Q(pk__in=ProviderCall.objects.filter(requested).values("pk"))
        named = Q(user__in=users) | requested
    if models := [name for name in list_known_models() if word.lower() in name.lower()]:
        named |= Q(model__in=models)
    return named or Q(request_id=word, outcome=Outcome.INTERRUPTED)


@admin.register(ProviderCall)
class ProviderCallAdmin(Record, ByUser, LargeList):
    """The rows of the ledger."""

    # These columns fit beside the navigation and the filter on a screen of 1,440 px; a call's own page has the rest.
    list_display = ("show_start", "user", "model", "purpose", "show_end", "show_tokens", "show_cost", "show_times")
    list_filter = (
        *("outcome", CallErrorFilter, ("error_cause", CauseFilter), "estimated", "purpose", "billed_to"),
        ModelFilter,
        ("user", UserFilter),
    )
    list_select_related = ("user",)
    search_fields = ("user__username", "requested_by__username", "model", "=request_id")
    date_hierarchy = "started_at"

    @admin.display(ordering="started_at", description="started, UTC")
    def show_start(self, call: ProviderCall) -> str:
        return f"{call.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @admin.display(ordering="outcome", description="outcome")
    def show_end(self, call: ProviderCall) -> str:
        """Return how the call ended, and of what it failed."""
        why = [call.error_code, call.get_error_cause_display(), str(call.error_status or "")]
        return (
            f"{call.get_outcome_display()}: {', '.join(filter(None, why))}" if any(why) else call.get_outcome_display()
        )

    @admin.display(ordering="output_tokens", description="tokens in / out")
    def show_tokens(self, call: ProviderCall) -> str:
        about = "about " if call.estimated and call.outcome != Outcome.RUNNING else ""
        return f"{about}{call.input_tokens:,} / {call.output_tokens:,}"

    @admin.display(ordering="cost", description="cost")
    def show_cost(self, call: ProviderCall) -> str:
        return "" if call.cost is None else write_dollars(call.cost)

    @admin.display(ordering="total_ms", description="first token / all")
    def show_times(self, call: ProviderCall) -> str:
        return f"{write_milliseconds(call.first_token_ms)} / {write_milliseconds(call.total_ms)}"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ProviderCall], search_term: str
    ) -> tuple[QuerySet[ProviderCall], bool]:
        """Return the calls that every word matches."""
        for word in search_term.split():
            queryset = queryset.filter(match_word(word))
        return queryset, False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderCall]:
        """Return the rows whose figures can be read; the usage review names the others."""
        return super().get_queryset(request).exclude(left_out=True)


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin[ApiToken]):
    """Tokens are made by `manage.py apitoken` and taken back here."""

    list_display = ("name", "user", "created_at")
    list_select_related = ("user",)
    fields = ("user", "name", "created_at")
    readonly_fields = ("user", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(ModelAccess)
class ModelAccessAdmin(PicksModel):
    """Models that only some groups may use; a model without a row is for everybody."""

    list_display = ("model",)
    filter_horizontal = ("groups",)


@admin.register(ModelPrice)
class ModelPriceAdmin(PicksModel):
    """US dollars for a million tokens, where the published price is not the site's."""

    list_display = ("model", "since", "input", "output", "cached", "written", "written_hour", "search")
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
class LimitAdmin(admin.ModelAdmin[Limit]):
    """Limits of users and groups; chat.accounting.quotas says which one counts."""

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


@admin.register(Meter)
class MeterAdmin(ReadOnly, admin.ModelAdmin[Meter]):
    """The use of limits in their windows."""

    list_display = ("key", "show_used", "show_held", "show_limit", "begins", "until")
    list_filter = ("is_hard",)
    search_fields = ("key",)
    date_hierarchy = "begins"
    ordering = ("-until", "key")

    @admin.display(ordering="used", description="used")
    def show_used(self, meter: Meter) -> str:
        return write_amount(meter.measure, meter.used)

    @admin.display(ordering="held", description="held by calls under way")
    def show_held(self, meter: Meter) -> str:
        return write_amount(meter.measure, meter.held)

    @admin.display(ordering="most", description="limit")
    def show_limit(self, meter: Meter) -> str:
        return "" if meter.most is None else write_amount(meter.measure, meter.most)


# What the staff did


@admin.register(Reading)
class ReadingAdmin(Record, ByUser, admin.ModelAdmin[Reading]):
    """Readings of other people's messages by the staff."""

    list_display = ("at", "reader_name", "owner", "message_key", "place")
    list_filter = ("place", ("reader", UserFilter))
    list_select_related = ("owner",)
    search_fields = ("reader_name", "owner__username")
    date_hierarchy = "at"


@admin.register(Dismissal)
class DismissalAdmin(Record, ByUser, admin.ModelAdmin[Dismissal]):
    """Failed answers that the staff dismissed."""

    list_display = ("at", "by", "note", "show_code", "show_model", "undone_at", "undone_by")
    list_filter = (("by", UserFilter),)
    list_select_related = ("by", "undone_by", "answer")
    search_fields = ("note", "by__username")
    date_hierarchy = "at"

    @admin.display(ordering="answer__error_code", description="code")
    def show_code(self, dismissal: Dismissal) -> str:
        return dismissal.answer.error_code

    @admin.display(ordering="answer__model", description="model")
    def show_model(self, dismissal: Dismissal) -> str:
        return dismissal.answer.model


@admin.register(RetryBatch)
class RetryBatchAdmin(Record, ByUser, admin.ModelAdmin[RetryBatch]):
    """Batches of failed answers that the staff had retried."""

    list_display = ("created_at", "requested_by", "scope", "reason", "finished_at", "stopped_by")
    list_filter = (("requested_by", UserFilter),)
    list_select_related = ("requested_by", "stopped_by")
    search_fields = ("reason", "requested_by__username")
    date_hierarchy = "created_at"

    def get_view_on_site_url(self, obj: RetryBatch | None = None) -> str | None:
        """Return the address of the batch's own page, which shows its progress."""
        return obj.get_absolute_url() if obj else None


@admin.register(BatchLogEntry)
class BatchLogAdmin(Record, ByUser, admin.ModelAdmin[BatchLogEntry]):
    """The log of batches: what happened to them, and who did it."""

    list_display = ("at", "what", "by_name", "batch", "detail")
    list_filter = ("what", ("by", UserFilter))
    list_select_related = ("batch",)
    search_fields = ("by_name", "detail")
    date_hierarchy = "at"


# Models and how they do


@admin.register(ModelHealth)
class ModelHealthAdmin(Record, admin.ModelAdmin[ModelHealth]):
    """One page made from the ledger: the site's models, how their calls ended, and a button that makes a test call."""

    def get_urls(self) -> list[URLPattern]:
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name="chat_modelhealth_changelist"),
            path("test/", self.admin_site.admin_view(self.test_view), name="chat_modelhealth_test"),
            path("forget/", self.admin_site.admin_view(self.forget_view), name="chat_modelhealth_forget"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Model health",
            "opts": self.opts,
            "models": model_health.list_health(),
            "retirements": list_retirement_notices(),
            "refusals": refusals.list_kept_refusals(),
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
        found = async_to_sync(model_health.test_model)(model, cast("User", request.user))
        if found.code:
            messages.error(request, f"Test of {model}: {found.code}. {CODES[found.code].message}")
        else:
            said = found.text[:80] or "(nothing)"
            messages.success(request, f"Test of {model}: answered in {found.milliseconds} ms: {said}")
        return redirect("admin:chat_modelhealth_changelist")

    def forget_view(self, request: HttpRequest) -> HttpResponse:
        """Forget a refusal, so that its model is asked the usual way again."""
        if not (self.has_view_permission(request) and self.may_test(request)):
            raise PermissionDenied
        number = request.POST.get("refusal", "")
        if request.method != "POST" or not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Http404
        forgotten = refusals.forget(int(number))
        if forgotten is not None:
            messages.success(
                request, f"{forgotten.model} is asked the usual way again, instead of: {forgotten.description}."
            )
        return redirect("admin:chat_modelhealth_changelist")
