"""The staff's pages: failed answers, their groups, and the batches that retry them.

A user without a view's permission gets 404, as for a page that does not exist.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import escape
from django.views.decorators.http import require_POST, require_safe

from chat.accounts.visitors import CHECK_EVERY, Visitor
from chat.conversations.open_failures import select_open_failures
from chat.conversations.readings import READ_CONVERSATIONS, record_reading
from chat.http.requests import HtmxRequest, load_user
from chat.http.row_cursor import RowCursor
from chat.models import BatchLogEntry, Message, Reading, RetryBatch, RetryItem, User
from chat.staff import batches, failures
from chat.staff.bulk_retry import get_retrier
from chat.staff.failure_plot import draw_failures
from chat.staff.forms import ActionForm, ListForm, RetryForm
from chat.streaming import encoders, responses
from chat.streaming.page_change import Change
from chat.tasks import run_in_thread

P = ParamSpec("P")
View = Callable[Concatenate[HtmxRequest, User, P], HttpResponseBase]
AsyncView = Callable[Concatenate[HtmxRequest, User, P], Awaitable[HttpResponseBase]]

# Seconds between two queries for the progress of a batch that a page shows.
POLL_EVERY = 0.4


def require_permissions(
    *permissions: str,
) -> Callable[[AsyncView[P]], Callable[..., Coroutine[Any, Any, HttpResponseBase]]]:
    """Return a decorator of views for users who have all of these permissions; everyone else gets 404."""

    def decorate(view: AsyncView[P]) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
        @wraps(view)
        async def wrapped(request: HtmxRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            user = await load_user(request)
            if not await run_in_thread(user.has_perms, permissions):
                raise Http404
            return await view(request, user, *args, **kwargs)

        return wrapped

    return decorate


def run_view_in_thread(view: View[P]) -> AsyncView[P]:
    """Return an async view that runs a synchronous one, which is all database work, in a thread."""

    async def wrapped(request: HtmxRequest, user: User, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return await run_in_thread(view, request, user, *args, **kwargs)

    return wrapped


@require_safe
@require_permissions(failures.RETRY)
async def list_failures(request: HtmxRequest, user: User) -> HttpResponseBase:
    """Show the groups of open failures, the answers that were continued automatically, or those that were dismissed."""
    response, unfinished = await run_in_thread(_render_failures, request, user)
    for batch in unfinished:
        await get_retrier().continue_batch(batch)
    return response


def _render_failures(request: HtmxRequest, user: User) -> tuple[HttpResponse, list[UUID]]:
    form = ListForm(request.GET)
    listed = batches.load_batches()
    context: dict[str, Any] = {
        **_make_action_context(),
        "form": form,
        "batches": listed,
        "ends": batches.find_unseen_ends(user),
    }
    if form.is_valid():
        context |= _LISTS[form.cleaned_data["state"]](request, form)
    response = render(request, "staff/failures.html", context, status=200 if form.is_valid() else 400)
    return response, [found.batch.pk for found in listed if found.state == "waiting"]


def _make_action_context() -> dict[str, Any]:
    """Return the context that every form of an action on failed answers needs."""
    return {"retry_form": RetryForm(), "until": timezone.now().isoformat()}


def _load_open(request: HtmxRequest, form: ListForm) -> dict[str, Any]:
    groups = failures.group_failures(form.to_filter().apply(select_open_failures()))
    total = sum(group.count for group in groups)
    is_cut = total >= failures.MAX_AT_ONCE
    return {
        "plot": draw_failures(form.to_filter().model),
        "is_cut": is_cut,
        "since": min(group.first for group in groups).isoformat() if is_cut else "",
        "groups": [group for group in groups if group.retryable],
        "lasting": [group for group in groups if not group.retryable],
        "total": total,
        "idle": sum(group.idle for group in groups if group.retryable),
        "lasting_idle": sum(group.idle for group in groups if not group.retryable),
    }


def _load_dismissed(request: HtmxRequest, form: ListForm) -> dict[str, Any]:
    page = _load_page(request, form.to_filter().apply(failures.select_dismissed_failures()))
    return {"is_dismissed": True, "page": page, "next": _make_next_query(request, page)}


def _load_recovered(request: HtmxRequest, form: ListForm) -> dict[str, Any]:
    answers = form.to_filter().apply(failures.select_recovered_answers(), "interrupted_by")
    page = _load_page(request, answers)
    counts = failures.count_recovered(answers)
    return {"is_recovered": True, "counts": counts, "page": page, "next": _make_next_query(request, page)}


# By the state that the list's address names.
_LISTS = {"": _load_open, "recovered": _load_recovered, "dismissed": _load_dismissed}


@require_safe
@require_permissions(failures.RETRY)
@run_view_in_thread
def show_group(request: HtmxRequest, user: User) -> HttpResponse:
    """Show a page of a group's answers: a part of the list for htmx, a whole page otherwise."""
    form = ListForm(request.GET)
    if not form.is_valid():
        raise Http404
    page = _load_page(request, form.to_filter().apply(select_open_failures()))
    context = {
        **_make_action_context(),
        "may_read": user.has_perm(READ_CONVERSATIONS),
        "page": page,
        "next": _make_next_query(request, page),
        "form": form,
        "wanted": form.to_filter(),
    }
    return render(request, "staff/_answers.html" if request.htmx else "staff/group.html", context)


def _load_page(request: HtmxRequest, answers: Any) -> failures.Page:
    return failures.load_page(answers, _read_cursor(request))


def _read_cursor(request: HtmxRequest) -> RowCursor[UUID] | None:
    """Return the cursor in the address. Raises Http404 for one that the site has not written."""
    try:
        return RowCursor.read(request.GET.get("after", ""), UUID)
    except ValueError:
        raise Http404 from None


def _make_next_query(request: HtmxRequest, page: failures.Page) -> str:
    """Return the query of the next page, or nothing on the last."""
    query = {name: value for name, value in request.GET.items() if name != "after" and value}
    return urlencode({**query, "after": page.next_cursor}) if page.next_cursor else ""


@require_POST
@require_permissions(failures.RETRY, READ_CONVERSATIONS)
@run_view_in_thread
def show_answer(request: HtmxRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Show a question and the text of its failed or retried answer, and record that; so it is a POST."""
    answers = (
        _select_readable_answers()
        .select_related("parent__conversation")
        .prefetch_related(failures.prefetch_failed_calls())
    )
    answer = get_object_or_404(answers, pk=answer_id)
    question = answer.parent
    record_reading(user, [message for message in (question, answer) if message], Reading.Place.STAFF)
    context = {"answer": answer, "question": question}
    return render(request, "staff/_text.html" if request.htmx else "staff/text.html", context)


def _select_readable_answers() -> Any:
    """Return the answers that these pages are about: those that failed, and the attempts that batches made."""
    retried = Exists(RetryItem.objects.filter(attempt=OuterRef("pk")))
    answers = Message.objects.answers().filter(Q(status="interrupted") | retried)
    return answers.select_related("conversation__user")


@require_POST
@require_permissions(failures.RETRY)
async def retry(request: HtmxRequest, user: User) -> HttpResponseBase:
    """Begin a batch, of one answer, of those that are ticked or of all in the page's filter, and show it."""
    form = RetryForm(request.POST)
    if not await run_in_thread(form.is_valid):
        return _refuse(request, form)
    turn_id = form.cleaned_data["turn"]
    show_batch = await run_in_thread(batches.begin_batch, user, form.to_filter(), form.to_wish(), turn_id)
    await get_retrier().continue_batch(show_batch.pk)
    return redirect(show_batch)


@require_POST
@require_permissions(failures.RETRY)
@run_view_in_thread
def dismiss(request: HtmxRequest, user: User) -> HttpResponse:
    """Take one answer, those that are ticked, or all in the page's filter, off the list."""
    form = ActionForm(request.POST)
    if not form.is_valid():
        return _refuse(request, form)
    number = failures.dismiss(user, form.to_filter(), form.cleaned_data["reason"])
    messages.success(request, f"{number} answer{'' if number == 1 else 's'} dismissed.")
    return redirect(_list_address(request))


@require_POST
@require_permissions(failures.RETRY)
@run_view_in_thread
def undo(request: HtmxRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Put a dismissed answer back on the list."""
    if not failures.undo_dismissal(user, answer_id):
        raise Http404
    messages.success(request, "The answer is back on the list.")
    return redirect(_list_address(request))


def _refuse(request: HtmxRequest, form: ActionForm) -> HttpResponse:
    messages.error(request, form.find_first_error())
    return redirect(_list_address(request))


def _list_address(request: HtmxRequest) -> str:
    """Return the address of the filtered list; only its query comes from the form, so it stays on this site."""
    query = request.POST.get("back", "")
    return f"/staff/?{query}" if query else "/staff/"


@require_safe
@require_permissions(failures.RETRY)
async def show_batch(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """Show the progress of a batch, and continue one that no process works on."""
    found = await run_in_thread(batches.load_progress, batch_id)
    if found is None:
        raise Http404
    if found.state == "waiting":
        await get_retrier().continue_batch(batch_id)
    return await run_in_thread(_render_batch, request, user, batch_id)


def _render_batch(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponse:
    batches.mark_end_seen(user, batch_id)
    context = {
        **_make_progress_context(batch_id),
        "log": BatchLogEntry.objects.filter(batch=batch_id),
        "first": batches.find_first_attempt(batch_id),
        "may_read": user.has_perm(READ_CONVERSATIONS),
    }
    return render(request, "staff/batch.html", context)


def _make_progress_context(batch_id: UUID) -> dict[str, Any]:
    return {
        "progress": batches.load_progress(batch_id),
        "outcomes": batches.count_outcomes(batch_id),
        "refused": batches.count_refused(batch_id),
    }


@require_safe
@require_permissions(failures.RETRY)
@run_view_in_thread
def list_batches(request: HtmxRequest, user: User) -> HttpResponse:
    """Show all batches, the latest first: who began them, when, with which model, and how they ended."""
    page = batches.load_batch_page(_read_cursor(request))
    return render(request, "staff/batches.html", {"page": page})


@require_POST
@require_permissions(failures.RETRY)
async def stop(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """Stop a batch: begin no more of its retries."""
    found = await run_in_thread(get_object_or_404, RetryBatch, pk=batch_id)
    await run_in_thread(batches.stop_batch, user, batch_id)
    await get_retrier().continue_batch(batch_id)  # a paused batch has no process that would end it
    return redirect(found)


@require_POST
@require_permissions(failures.RETRY)
async def resume(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """Resume a batch that is paused."""
    found = await run_in_thread(get_object_or_404, RetryBatch, pk=batch_id)
    if not await run_in_thread(batches.resume_batch, user, batch_id):
        messages.info(request, "This retry is not paused any more.")
    await get_retrier().continue_batch(batch_id)
    return redirect(found)


@require_safe
@require_permissions(failures.RETRY)
async def stream_batch(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """Stream the progress of a batch as changes to its page; the stream of a missing batch ends at once."""
    if await run_in_thread(batches.load_progress, batch_id) is None:
        return HttpResponse(encoders.encode_sse("done", event="done"), content_type=encoders.SSE)
    return responses.make_streaming_response(
        Visitor.from_request(request, user), _stream_progress(user.pk, batch_id), encoders.SSE
    )


async def _stream_progress(user: int, batch_id: UUID) -> AsyncGenerator[bytes, None]:
    """Yield each change, until the batch ends or the reader loses the permission.

    The sentence for screen readers has an element of its own, which changes only with the sentence.
    """
    shown, announced, checked_at, sent_at = "", "", time.monotonic(), time.monotonic()
    while (found := await run_in_thread(batches.load_progress, batch_id)) is not None:
        if found.state == "waiting":
            await get_retrier().continue_batch(batch_id)
        html = await run_in_thread(
            render_to_string, "staff/_progress.html", await run_in_thread(_make_progress_context, batch_id)
        )
        if html != shown:
            shown, sent_at = html, time.monotonic()
            changes = [Change(f"#progress-{batch_id}", "outerHTML", html.strip())]
            if found.sentence != announced:
                announced = found.sentence
                changes.append(Change(f"#announced-{batch_id}", "innerHTML", escape(announced)))
            yield encoders.encode_sse("".join(map(str, changes)))
        elif time.monotonic() - sent_at > settings.CHAT_HEARTBEAT:
            sent_at = time.monotonic()
            yield encoders.PING
        if found.batch.finished_at:
            break
        if time.monotonic() - checked_at > CHECK_EVERY:
            checked_at = time.monotonic()
            if not await run_in_thread(_may_watch, user):
                break
        await asyncio.sleep(POLL_EVERY)
    yield encoders.encode_sse("done", event="done")


def _may_watch(user: int) -> bool:
    found = User.objects.filter(pk=user).first()
    return found is not None and found.has_perm(failures.RETRY)
