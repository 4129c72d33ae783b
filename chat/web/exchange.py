"""Pages to export and import conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from chat.conversations.actions import get_owned_conversation
from chat.conversations.exchange.files import NoDirectoryError, find_directory, find_draft_path, find_path, sign, unsign
from chat.conversations.exchange.jobs import NoArchivesError, Report, begin_job, delete_job, list_jobs, read_report
from chat.conversations.exchange.worker import get_exchange_worker
from chat.conversations.turn_ids import make_turn_id
from chat.core.errors import RefusedError
from chat.http.exports import export_json, export_markdown, export_page, make_disposition
from chat.http.requests import HtmxRequest, load_user, read_turn_id
from chat.models import ExchangeJob, User
from chat.tasks import run_in_thread
from chat.web.listed_conversations import show_open
from chat.web.time_zones import find_zone

# Bytes of an archive that are read from the disk and sent at once.
PIECE = 262_144


class ShownJob(NamedTuple):
    """A job on its user's page, with the token of the link to its file, and its report."""

    job: ExchangeJob
    token: str
    report: Report


@require_safe
def download_markdown(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Return the shown branch of a conversation as Markdown."""
    return export_markdown(get_owned_conversation(request.user, conversation_id))


@require_safe
def download_json(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Return the whole tree of a conversation as JSON."""
    return export_json(get_owned_conversation(request.user, conversation_id))


@require_safe
async def print_conversation(request: HtmxRequest, conversation_id: UUID) -> StreamingHttpResponse:
    """Return the shown branch of a conversation as a page for paper."""
    found = await run_in_thread(get_owned_conversation, await load_user(request), conversation_id)
    return export_page(found)


# All conversations of a user


@require_safe
def show_data(request: HtmxRequest) -> HttpResponse:
    """Show the page where users export and import their conversations; to htmx the jobs alone."""
    if request.htmx:
        return render(request, "account/_jobs.html", _list_jobs(request.user))
    return _render_page(request, request.user)


# A refusal is shown at the address of its form, to which a login leads back when the session has ended meanwhile.
answers_get_too = require_http_methods(["GET", "HEAD", "POST"])


@answers_get_too
async def begin_export(request: HtmxRequest) -> HttpResponse:
    """Start the export of everything that the user has into an archive; without a form, lead to its page."""
    if request.method != "POST":
        return redirect("data")
    user = await load_user(request)
    try:
        await run_in_thread(_check_switched_on)
        await run_in_thread(begin_job, user, ExchangeJob.Kind.EXPORT, read_turn_id(request))
    except RefusedError as error:
        return await run_in_thread(_render_page, request, user, error)
    get_exchange_worker().wake()
    return redirect("data")


@answers_get_too
async def begin_import(request: HtmxRequest, token: str) -> HttpResponse:
    """Start the import of an uploaded archive; without a form, lead to its page.

    `token` was signed for the user when they were shown the form.
    """
    if request.method != "POST":
        return redirect("data")
    user = await load_user(request)
    if unsign("import", token) != str(user.pk):
        raise Http404
    try:
        await run_in_thread(_check_switched_on)
        await _take_file(user, read_turn_id(request), request.FILES.get("file"))
    except RefusedError as error:
        return await run_in_thread(_render_page, request, user, error)
    get_exchange_worker().wake()
    return redirect("data")


@require_POST
def delete_exchange(request: HtmxRequest, job_id: UUID) -> HttpResponse:
    """Stop a job, or delete an ended one with its file."""
    if not delete_job(request.user, job_id):
        raise Http404
    return redirect("data")


@require_safe
async def download_archive(request: HtmxRequest, token: str) -> StreamingHttpResponse:
    """Return an archive of the user's, by a link that is valid for a day."""
    user = await load_user(request)
    path, name = await run_in_thread(_find_archive, user, token)
    return StreamingHttpResponse(
        _read_file(path),
        content_type="application/zip",
        headers={"Content-Length": str(path.stat().st_size), "Content-Disposition": make_disposition(name)},
    )


class NoFileError(RefusedError):
    """The form came without a file."""

    status, code = 400, "bad_request"
    sentence = "Choose a file first."


class FileTooLargeError(RefusedError):
    """The file is larger than the site takes."""

    status, code = 413, "too_large"

    def __init__(self) -> None:
        super().__init__()
        self.sentence = f"This file is larger than {settings.CHAT_IMPORT_MB:,} MB."


def _check_switched_on() -> None:
    """Raise `NoArchivesError` where the operator has switched archives off."""
    try:
        find_directory()
    except (NoDirectoryError, OSError) as error:
        raise NoArchivesError from error


async def _take_file(user: User, turn: UUID, file: UploadedFile[Any] | None) -> None:
    """Store an uploaded file and its job. Raises `RefusedError`."""
    if file is None or not file.size:
        raise NoFileError
    if file.size > settings.CHAT_IMPORT_MB * 1_000_000:
        raise FileTooLargeError
    draft = find_draft_path(uuid4())
    try:
        await asyncio.to_thread(_copy_file, file, draft)
        await run_in_thread(begin_job, user, ExchangeJob.Kind.IMPORT, turn, file.name or "", draft)
    finally:
        await asyncio.to_thread(draft.unlink, missing_ok=True)


def _copy_file(file: UploadedFile[Any], path: Path) -> None:
    with path.open("xb") as copy:
        path.chmod(0o600)
        for chunk in file.chunks():
            copy.write(chunk)


def _find_archive(user: User, token: str) -> tuple[Path, str]:
    """Return the path of an archive of the user's and its name for the download. Raises Http404."""
    try:
        job = get_object_or_404(
            ExchangeJob, pk=UUID(unsign("file", token)), user=user, kind=ExchangeJob.Kind.EXPORT, error=""
        )
    except (ValueError, TypeError):
        raise Http404 from None
    if not job.is_finished or not settings.CHAT_EXCHANGE_DIRECTORY or not (path := find_path(job.pk)).exists():
        raise Http404
    return path, f"chatsite-{job.created_at:%Y-%m-%d}.zip"


async def _read_file(path: Path) -> AsyncIterator[bytes]:
    """Yield a file piece by piece; no thread for requests waits for a slow client."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
    finally:
        file.close()


def _render_page(request: HtmxRequest, user: User, error: RefusedError | None = None) -> HttpResponse:
    context = {
        **_list_jobs(user),
        "error": error.sentence if error else "",
        "export_turn": make_turn_id(),
        "import_turn": make_turn_id(),
        "import_token": sign("import", str(user.pk)),
        "is_on": bool(settings.CHAT_EXCHANGE_DIRECTORY),
        "most_megabytes": settings.CHAT_IMPORT_MB,
        "conversations": show_open(user, find_zone(request)),
    }
    return render(request, "account/data.html", context, status=error.status if error else 200)


def _list_jobs(user: User) -> dict[str, Any]:
    jobs = [ShownJob(job, sign("file", str(job.pk)), read_report(job)) for job in list_jobs(user)]
    return {"jobs": jobs, "is_working": any(not shown.job.is_finished for shown in jobs)}
