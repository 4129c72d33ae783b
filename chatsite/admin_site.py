"""The admin's site: its first page is the dashboard, and its pages are listed by task, not by app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import reverse

log = logging.getLogger(__name__)

LONGEST_NUMBER = 19  # digits of an id of 64 bits

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class SiteAdminConfig(AdminConfig):
    """The app config of the admin, with our class of site."""

    default_site = "chatsite.admin_site.ChatAdminSite"


class Link(NamedTuple):
    """A page other than a list of a model, and the permission that it needs."""

    name: str
    view: str
    permission: str


# The tasks of an administrator, each with its pages: links, and models by class name.
TASKS: Mapping[str, tuple[Link | str, ...]] = {
    "Usage": (Link("Usage review", "usage", "chat.view_providercall"), "ProviderCall"),
    "Money": ("Budget", "Limit", "Meter", "ModelPrice", "Alert", "Delivery"),
    "Models": ("ModelHealth", "ModelAccess", "ModelFallback"),
    "People": ("User", "Group", "ApiToken"),
    "Conversations": ("Conversation", "Message"),
    "Failures": (Link("Failed answers", "staff", "chat.retry_answer"), "RetryBatch", "Dismissal"),
    "Ratings": (Link("Ratings", "staff-ratings", "chat.view_rating"),),
    "Audit": ("Reading", "BatchLogEntry", "Share"),
}
OTHER = "Other"


class ChatAdminSite(AdminSite):
    """The admin of this site."""

    site_header = site_title = "Chatsite"
    index_title = "Overview"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Wrap a view as Django does; values in its address that no database can look up are a 404."""
        return super().admin_view(refuse_impossible_values(view), cacheable)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the dashboard."""
        # Django makes this site before the models are loaded.
        from chat.admin.dashboard import make_dashboard  # noqa: PLC0415

        dashboard = make_dashboard(request.user)  # type: ignore[arg-type] # of the staff, as admin_view has checked
        return super().index(request, {"dashboard": dashboard, **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the pages that a reader may open, by task; those of one app where Django asks for one."""
        apps = super().get_app_list(request, app_label)
        return apps if app_label else list(group_by_task(request, apps))


def refuse_impossible_values(view: View) -> View:
    """Make a view raise `Http404` for an id of more than 64 bits, a day outside the calendar, or a text with NUL.

    Django checks values of filters by what their fields take, which is more than databases do, and does not check those
    with which it fills in an empty form. The log has what was wrong, in case it was the view.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
            # Lists and forms ask the database while they are rendered, which would be after this.
            return response.render() if isinstance(response, SimpleTemplateResponse) else response
        except (OverflowError, DataError, ValueError) as error:
            if isinstance(error, ValueError) and not has_unchecked_value(request):
                raise
            log.warning("%s %s has a value that cannot be looked up", request.method, request.path, exc_info=True)
            raise Http404 from error

    return cast("View", wrapped)


def has_unchecked_value(request: HttpRequest) -> bool:
    """Return whether the query has a value that Django hands on without a check.

    Those are all with which an empty form is filled in; of filters a part of a day, and what is too long or has NUL.
    Names that begin with `_` are the admin's own.
    """
    is_form = request.path.endswith("/add/")
    return request.method in {"GET", "HEAD"} and any(
        is_form or "__" in name or "\0" in value or len(value) > LONGEST_NUMBER
        for name, values in request.GET.lists()
        for value in values
        if not name.startswith("_")
    )


def group_by_task(request: HttpRequest, apps: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield the tasks of which the reader may open a page; models that no task names come last, under `OTHER`."""
    models = {model["object_name"]: model for app in apps for model in app["models"]}
    for task, pages in TASKS.items():
        found = [_make_entry(request, page) if isinstance(page, Link) else models.pop(page, None) for page in pages]
        if entries := [entry for entry in found if entry]:
            yield _make_group(task, entries)
    if models:
        yield _make_group(OTHER, list(models.values()))


def _make_group(task: str, entries: list[Any]) -> dict[str, Any]:
    return {
        "name": task,
        "app_label": task.lower(),
        "app_url": f"{reverse('admin:index')}#{task.lower()}",
        "has_module_perms": True,
        "models": entries,
    }


def _make_entry(request: HttpRequest, link: Link) -> dict[str, Any] | None:
    if not request.user.has_perm(link.permission):
        return None
    return {
        "name": link.name,
        "object_name": link.view,
        "admin_url": reverse(link.view),
        "add_url": None,
        "view_only": True,
        "perms": {},
    }
