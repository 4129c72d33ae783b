"""Budgets in the admin, the alerts that they gave, and the outbox of these."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from chat.accounting.budgets import make_terms, match_calls, measure_budgets
from chat.accounting.formatting import write_amount
from chat.accounting.periods import write_moment
from chat.accounting.quotas import open_meters
from chat.accounting.simulation import TriedLimit, simulate
from chat.admin.redaction import ReadOnly
from chat.models import COST_UNIT, Alert, Budget, Delivery

# The fields that say which calls a budget counts.
_CALLS_COUNTED = frozenset({"scope", "group", "user", "period", "model", "is_active"})


class BudgetForm(forms.ModelForm[Budget]):
    """A budget, whose models are picked from those that the site has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models: list[str] = settings.CHAT_MODELS
        providers = sorted({model.partition(":")[0] for model in models})
        self._offer("model", "every model", [*providers, *models])
        self._offer("fallback_model", "none: the question is refused", models)

    def _offer(self, name: str, nothing: str, values: list[str]) -> None:
        if (field := self.fields.get(name)) is None:  # it may be read only
            return
        kept = getattr(self.instance, name)
        values = [*values, kept] if kept and kept not in values else values
        field.widget = forms.Select(choices=[("", nothing), *((value, value) for value in values)])


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin[Budget]):
    """Limits of the site, of a group together, or of a user; a change counts within seconds."""

    form = BudgetForm
    list_display = (
        "name",
        "show_owner",
        "period",
        "tokens",
        "cost",
        "model",
        "is_hard",
        "fallback_model",
        "show_usage",
    )
    list_filter = ("scope", "period", "is_hard", "is_active")
    list_select_related = ("user", "group")
    search_fields = ("name", "user__username", "group__name")
    autocomplete_fields = ("user", "group")
    actions = ("simulate",)
    fieldsets = (
        (None, {"fields": ("name", "scope", "group", "user", "is_active")}),
        (
            "Amount",
            {
                "fields": ("period", "tokens", "cost", "model"),
                "description": "A call needs room in every budget that it counts for. What was used before counts too.",
            },
        ),
        (
            "When it is used up",
            {
                "fields": ("is_hard", "fallback_model"),
                "description": "At 50, 80 and 100 % its users and the administrators are told, once a period.",
            },
        ),
    )

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if obj.is_active:
            measures = ("tokens", "cost")
            is_other = not _CALLS_COUNTED.isdisjoint(form.changed_data)
            open_meters(obj, [name for name in measures if is_other or form.initial.get(name) is None])

    @admin.display(description="of")
    def show_owner(self, budget: Budget) -> str:
        return str(budget.user or budget.group or "the site")

    @admin.display(description="used now")
    def show_usage(self, budget: Budget) -> str:
        """Return how far the budget is used in its present windows."""
        now = timezone.now()
        parts = []
        for standing in measure_budgets([make_terms(budget)]):
            unit = COST_UNIT if standing.measure == "cost" else 1
            used = write_amount(standing.measure, int((standing.used + standing.held) / unit))
            share = 100 * (standing.used + standing.held) / standing.most if standing.most else 100
            parts.append(f"{used} ({share:.0f} %), resets {write_moment(standing.resets_at, now)}")
        return "; ".join(parts)

    @admin.action(description="Simulate over the last 30 days", permissions=["view"])
    def simulate(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        """Say what these budgets would have refused, whether they are active or not."""
        now = timezone.now()
        for budget in queryset:
            terms = make_terms(budget)
            limit = TriedLimit(terms.period, terms.tokens, terms.cost_units, calls=match_calls(budget.pk))
            messages.info(request, f"{budget}: {simulate(limit, now - timedelta(days=30), now)}")


@admin.register(Alert)
class AlertAdmin(ReadOnly, admin.ModelAdmin[Alert]):
    """Thresholds that budgets have reached."""

    list_display = ("created_at", "budget", "threshold", "sentence", "until")
    list_filter = ("threshold", "budget")
    date_hierarchy = "created_at"
    exclude = ("dismissed_by",)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly, admin.ModelAdmin[Delivery]):
    """Alerts and reports of months on their way to the administrators."""

    list_display = ("content", "channel", "state", "tries", "due_at", "sent_at", "error")
    list_filter = ("state", "channel")
    list_select_related = ("alert__budget",)
    actions = ("try_again",)

    @admin.action(description="Try again what was given up", permissions=["view"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Have deliveries tried again from the beginning."""
        given_up = queryset.filter(state=Delivery.State.GIVEN_UP)
        count = given_up.update(state=Delivery.State.WAITING, tries=0, due_at=timezone.now())
        messages.info(request, f"{count} are tried again.")
