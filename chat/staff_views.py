"""The staff's pages: failed answers, their groups, and the batches that retry them.

Every view needs its permission; without it the page is one that does not exist.
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
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from chat import staff, streams
from chat.background import in_thread
from chat.bulk_retry import retrier
from chat.models import Message, Reading, RetryBatch, User
from chat.page import Change
from chat.staff_forms import ActionForm, ListForm
from chat.turns import new_turn
from chat.views import HtmxRequest, signed_in
from chat.visitors import CHECK_EVERY, Visitor

P = ParamSpec("P")
View = Callable[Concatenate[HtmxRequest, User, P], HttpResponse]
AsyncView = Callable[Concatenate[HtmxRequest, User, P], Awaitable[HttpResponseBase]]

# How often a page that shows a batch is told of its progress.
TELL_EVERY = 0.4


def allowed(*permissions: str) -> Callable[[AsyncView[P]], Callable[..., Coroutine[Any, Any, HttpResponseBase]]]:
    """A view for those who have all of these permissions; 404 for everyone else."""

    def decorate(view: AsyncView[P]) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
        @wraps(view)
        async def wrapped(request: HtmxRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            user = await signed_in(request)
            if not await in_thread(user.has_perms, permissions):
                raise Http404
            return await view(request, user, *args, **kwargs)

        return wrapped

    return decorate


def threaded(view: View[P]) -> AsyncView[P]:
    """A view that is database work from beginning to end."""

    async def wrapped(request: HtmxRequest, user: User, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return await in_thread(view, request, user, *args, **kwargs)

    return wrapped


@require_GET
@allowed(staff.RETRY)
async def failures(request: HtmxRequest, user: User) -> HttpResponseBase:
    """The groups of what stands open, or the answers that were dismissed."""
    response, unfinished = await in_thread(_failures, request, user)
    for batch in unfinished:
        await retrier().go_on(batch)
    return response


def _failures(request: HtmxRequest, user: User) -> tuple[HttpResponse, list[UUID]]:
    form = ListForm(request.GET)
    batches = staff.batches()
    context: dict[str, Any] = {"form": form, "batches": batches, "until": timezone.now().isoformat()}
    if form.is_valid():
        is_dismissed = form.cleaned_data["state"] == "dismissed"
        context |= _dismissed(request, user, form) if is_dismissed else _open(form)
    response = render(request, "staff/failures.html", context, status=200 if form.is_valid() else 400)
    return response, [found.batch.pk for found in batches if found.state == "waiting"]


def _open(form: ListForm) -> dict[str, Any]:
    groups = staff.groups(form.wanted().of(staff.failed()))
    return {
        "groups": groups,
        "total": sum(group.count for group in groups),
        "idle": sum(group.idle for group in groups),
        "turn": new_turn(),
    }


def _dismissed(request: HtmxRequest, user: User, form: ListForm) -> dict[str, Any]:
    page = _page(request, form.wanted().of(staff.dismissed()))
    return {"is_dismissed": True, "page": page, "next": _next(request, page)}


@require_GET
@allowed(staff.RETRY)
@threaded
def group(request: HtmxRequest, user: User) -> HttpResponse:
    """The answers of a group, page by page: a part of the list for htmx, a page of its own for others."""
    form = ListForm(request.GET)
    if not form.is_valid():
        raise Http404
    page = _page(request, form.wanted().of(staff.failed()))
    context = {
        "page": page,
        "next": _next(request, page),
        "form": form,
        "wanted": form.wanted(),
        "may_read": user.has_perm(staff.READ),
    }
    return render(request, "staff/_answers.html" if request.htmx else "staff/group.html", context)


def _page(request: HtmxRequest, answers: Any) -> staff.Page:
    try:
        return staff.page(answers, request.GET.get("after", ""))
    except ValueError:
        raise Http404 from None


def _next(request: HtmxRequest, page: staff.Page) -> str:
    """The query of the page after this one, or nothing."""
    asked = {name: value for name, value in request.GET.items() if name != "after" and value}
    return urlencode({**asked, "after": page.following}) if page.following else ""


@require_POST
@allowed(staff.RETRY, staff.READ)
@threaded
def read(request: HtmxRequest, user: User, answer_id: UUID) -> HttpResponse:
    """The question and what was written of its answer. A POST, because it leaves a record."""
    answer = get_object_or_404(_failed_answers().select_related("parent__conversation"), pk=answer_id)
    question = answer.parent
    staff.read(user, [message for message in (question, answer) if message], Reading.Place.STAFF)
    context = {"answer": answer, "question": question}
    return render(request, "staff/_text.html" if request.htmx else "staff/text.html", context)


def _failed_answers() -> Any:
    return Message.objects.answers().filter(status="interrupted").select_related("conversation__user")


@require_POST
@allowed(staff.RETRY)
async def retry(request: HtmxRequest, user: User) -> HttpResponseBase:
    """Begin a batch, of one answer or of all that the page's filter finds, and show it."""
    form = ActionForm(request.POST)
    if not await in_thread(form.is_valid):
        return _refused(request, form)
    asked = form.cleaned_data
    batch = await in_thread(staff.begin_batch, user, form.wanted(), asked["reason"], asked["turn"])
    await retrier().go_on(batch.pk)
    return redirect(batch)


@require_POST
@allowed(staff.RETRY)
@threaded
def dismiss(request: HtmxRequest, user: User) -> HttpResponse:
    form = ActionForm(request.POST)
    if not form.is_valid():
        return _refused(request, form)
    number = staff.dismiss(user, form.wanted(), form.cleaned_data["reason"])
    messages.success(request, f"{number} answer{'' if number == 1 else 's'} dismissed.")
    return redirect(_back(request))


@require_POST
@allowed(staff.RETRY)
@threaded
def undo(request: HtmxRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Take a dismissal back."""
    if not staff.undo(user, answer_id):
        raise Http404
    messages.success(request, "The answer is on the list again.")
    return redirect(_back(request))


def _refused(request: HtmxRequest, form: ActionForm) -> HttpResponse:
    messages.error(request, form.sentence())
    return redirect(_back(request))


def _back(request: HtmxRequest) -> str:
    """The list as it was filtered. Only its query is taken from the form, so that nobody is sent elsewhere."""
    query = request.POST.get("back", "")
    return f"/staff/?{query}" if query else "/staff/"


@require_GET
@allowed(staff.RETRY)
async def batch(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """How a batch does. One that no process works on is gone on with."""
    found = await in_thread(staff.progress, batch_id)
    if found is None:
        raise Http404
    if found.state == "waiting":
        await retrier().go_on(batch_id)
    return await in_thread(_batch, request, batch_id)


def _batch(request: HtmxRequest, batch_id: UUID) -> HttpResponse:
    return render(request, "staff/batch.html", _progress(batch_id))


def _progress(batch_id: UUID) -> dict[str, Any]:
    return {"progress": staff.progress(batch_id), "outcomes": staff.outcomes(batch_id)}


@require_POST
@allowed(staff.RETRY)
@threaded
def stop(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponse:
    found = get_object_or_404(RetryBatch, pk=batch_id)
    staff.stop_batch(user, found.pk)
    return redirect(found)


@require_GET
@allowed(staff.RETRY)
async def batch_stream(request: HtmxRequest, user: User, batch_id: UUID) -> HttpResponseBase:
    """The progress of a batch as changes to the page that shows it. A missing one says `done`."""
    if await in_thread(staff.progress, batch_id) is None:
        return HttpResponse(streams.sse("done", event="done"), content_type=streams.SSE)
    return streams.streaming_response(Visitor.of(request, user), _told(user.pk, batch_id), streams.SSE)


async def _told(user: int, batch_id: UUID) -> AsyncGenerator[bytes, None]:
    """Each change, to the end of the batch or of the reader's permission."""
    told, checked_at, heard_at = "", time.monotonic(), time.monotonic()
    while (found := await in_thread(staff.progress, batch_id)) is not None:
        if found.state == "waiting":
            await retrier().go_on(batch_id)
        html = await in_thread(render_to_string, "staff/_progress.html", await in_thread(_progress, batch_id))
        if html != told:
            told, heard_at = html, time.monotonic()
            yield streams.sse(str(Change(f"#progress-{batch_id}", "outerHTML", html.strip())))
        elif time.monotonic() - heard_at > settings.CHAT_HEARTBEAT:
            heard_at = time.monotonic()
            yield streams.PING
        if found.batch.finished_at:
            break
        if time.monotonic() - checked_at > CHECK_EVERY:
            checked_at = time.monotonic()
            if not await in_thread(_may_look, user):
                break
        await asyncio.sleep(TELL_EVERY)
    yield streams.sse("done", event="done")


def _may_look(user: int) -> bool:
    found = User.objects.filter(pk=user).first()
    return found is not None and found.has_perm(staff.RETRY)
