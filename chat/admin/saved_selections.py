"""Selections of the usage review that an administrator keeps under a name, each for themselves."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from chat.models import SavedSelection, User

PERMISSION = "chat.view_providercall"

# What of an address is a selection; its page is not.
FILTERS = ("period", "start", "end", "user", "group", "model", "provider", "outcome")

MAX_KEPT = 50


class KeepForm(forms.Form):
    """A name for the selection of an address."""

    name = forms.CharField(max_length=60)
    query = forms.CharField(max_length=1000, required=False)

    def clean_query(self) -> str:
        """Return the filters of the query, and nothing else of it."""
        given, kept = QueryDict(self.cleaned_data["query"].lstrip("?")), QueryDict(mutable=True)
        for name in FILTERS:
            if value := given.get(name):
                kept[name] = value
        return kept.urlencode()


def list_saved(user: Any) -> list[SavedSelection]:
    """Return a user's own selections, by name."""
    return list(SavedSelection.objects.filter(owner=user))


@require_POST
def keep_selection(request: HttpRequest) -> HttpResponse:
    """Keep a selection under a name; one that has the name already is replaced."""
    user = _find_reader(request)
    form = KeepForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
        return redirect(f"{reverse('usage')}?{request.POST.get('query', '').lstrip('?')}")
    name, query = form.cleaned_data["name"], form.cleaned_data["query"]
    theirs = SavedSelection.objects.filter(owner=user)
    if theirs.exclude(name=name).count() >= MAX_KEPT:
        messages.error(request, f"{MAX_KEPT} selections are kept at most: delete one first.")
    else:
        theirs.update_or_create(owner=user, name=name, defaults={"query": query})
        messages.success(request, f"The selection is kept as {name}.")
    return redirect(f"{reverse('usage')}?{query}")


@require_POST
def forget_selection(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget one of a user's own selections."""
    deleted, _ = SavedSelection.objects.filter(owner=_find_reader(request), pk=pk).delete()
    if not deleted:
        raise Http404
    return redirect("usage")


def _find_reader(request: HttpRequest) -> User:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    return cast("User", request.user)


keep = admin.site.admin_view(keep_selection)
forget = admin.site.admin_view(forget_selection)
