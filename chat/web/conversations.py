"""The sidebar's requests: its list, the menu of a conversation, and what that changes.

Each works without JavaScript too, as a page or as a form that leads to one.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST, require_safe

from chat.conversations import actions
from chat.conversations.actions import find_deleted, get_owned_conversation
from chat.conversations.changes import Changes, InvalidTitleError, clean_title
from chat.conversations.listing import ListPlace
from chat.generation.process import get_runner
from chat.http.errors import show_refusal
from chat.http.requests import HtmxRequest, load_user
from chat.models import UNDO_FOR
from chat.tasks import run_in_thread
from chat.web.listed_conversations import show_archived, show_open, show_some
from chat.web.time_zones import find_zone

# The rows that are fetched at once; a page with more changes fetches them in several requests.
MAX_ROWS = 50


@require_safe
def list_conversations(request: HtmxRequest) -> HttpResponse:
    """Return the list in the sidebar; with `?before=` the rows after a place. `?current=` is the page's conversation.

    Without htmx it is a page of its own.
    """
    before, current = read_place(request), request.GET.get("current", "")
    shown = show_open(request.user, find_zone(request), current, before)
    if not request.htmx:
        return render_list(request, {"listed": shown, "shelf": "open", "heading": "Conversations"})
    template = "chat/_conversation_rows.html" if before else "chat/_conversations.html"
    return render(request, template, {"conversations": shown, "listed": shown})


@require_safe
def list_rows(request: HtmxRequest) -> HttpResponse:
    """Return the rows of the conversations `?id=`, for a page that has heard of a change; none for what is gone."""
    ids = [key for text in request.GET.getlist("id")[:MAX_ROWS] if (key := read_id(text))]
    rows = show_some(request.user, find_zone(request), ids, request.GET.get("current", ""))
    return HttpResponse("".join(render_to_string("chat/_conversation_row.html", {"row": row}) for row in rows))


@require_safe
def list_archive(request: HtmxRequest) -> HttpResponse:
    """Show the archived conversations, a page of their own."""
    before = read_place(request)
    shown = show_archived(request.user, find_zone(request), before)
    if request.htmx and before:
        return render(request, "chat/_conversation_rows.html", {"listed": shown})
    return render_list(request, {"listed": shown, "shelf": "archived", "heading": "Archived conversations"})


def render_list(request: HtmxRequest, context: dict[str, object]) -> HttpResponse:
    """Return a list as a page, with the sidebar beside it."""
    sidebar = show_open(request.user, find_zone(request))
    return render(request, "chat/conversations.html", {**context, "conversations": sidebar})


@require_safe
def show_menu(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Return what can be done with a conversation: the menu of its row, or a page."""
    found = get_owned_conversation(request.user, conversation_id)
    if request.htmx:
        return render(request, "chat/_conversation_menu.html", {"conversation": found})
    sidebar = show_open(request.user, find_zone(request), str(found.pk))
    return render(request, "chat/conversation_menu.html", {"conversation": found, "conversations": sidebar})


@require_POST
async def change_conversation(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Rename, pin or archive a conversation: the form has `title`, `pinned` or `archived`."""
    try:
        changes = read_changes(request)
    except InvalidTitleError as error:
        find = partial(get_owned_conversation, await load_user(request), conversation_id)
        return await run_in_thread(show_refusal, request, error, find)
    await actions.change_conversation(get_runner(), await load_user(request), conversation_id, changes)
    if request.htmx:
        return HttpResponse(status=204)
    return redirect("archive" if changes.is_archived is False else "home" if changes.is_archived else "conversations")


@require_POST
async def delete_conversation(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation, and say how that can be taken back for a moment."""
    user = await load_user(request)
    await actions.delete_conversation(get_runner(), user, conversation_id)
    if not request.htmx:
        response = redirect("home")
        response.headers["Location"] += f"?deleted={conversation_id}"
        return response
    deleted = await run_in_thread(find_deleted, user, conversation_id)
    return await run_in_thread(render, request, "chat/_undo.html", {"deleted": deleted, "undo_for": UNDO_FOR})


@require_POST
async def restore_conversation(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Take a deletion back, and lead to the conversation."""
    await actions.restore_conversation(get_runner(), await load_user(request), conversation_id)
    return HttpResponse(status=204) if request.htmx else redirect("conversation", conversation_id)


@require_POST
async def mark_as_read(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Note that the user has seen what was answered; a page that was open when the answer ended sends this."""
    await actions.mark_as_read(get_runner(), await load_user(request), conversation_id)
    return HttpResponse(status=204)


def read_changes(request: HttpRequest) -> Changes:
    """Return the changes in a form. Raises `InvalidTitleError`."""
    form = request.POST
    flags = {name: form[name] == "true" if name in form else None for name in ("pinned", "archived")}
    return Changes(clean_title(form["title"]) if "title" in form else None, flags["pinned"], flags["archived"])


def read_place(request: HttpRequest) -> ListPlace | None:
    """Return the place after which a list continues, from `?before=`. Raises Http404 for an invalid one."""
    try:
        return ListPlace.read(request.GET["before"]) if request.GET.get("before") else None
    except ValueError:
        raise Http404 from None


def read_id(text: str) -> UUID | None:
    """Return the id that a text is; None for any other text."""
    try:
        return UUID(text)
    except ValueError:
        return None
