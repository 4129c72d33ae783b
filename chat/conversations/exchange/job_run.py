"""One job's run, in a thread of its own: an archive is written, or read."""

from __future__ import annotations

import json
import logging
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from chat.conversations.exchange import chatgpt, claude, files, json_form
from chat.conversations.exchange.database_reader import OWN_SITE, load_conversation, name_file
from chat.conversations.exchange.database_writer import keep_conversation
from chat.conversations.exchange.jobs import Report, finish_job, note_progress, read_report
from chat.conversations.exchange.markdown_form import write_markdown
from chat.conversations.exchange.portable import PortableConversation, UnreadableError
from chat.conversations.exchange.uploaded_archive import UploadedArchive
from chat.models import Conversation, ExchangeJob

log = logging.getLogger(__name__)

# Seconds between two notes of how far an archive has been written.
NOTE_EVERY = 0.5

# The interpreter runs one thread at a time, and answers have the first claim on it: after each piece of work a job
# sleeps for as long as that kept the processor, up to this.
LONGEST_PAUSE = 0.25

ARCHIVE_FORMAT = "chatsite.archive"


class LostJobError(Exception):
    """The job is another process's now, was deleted, or this process is about to end."""


class Pace:
    """Says now and then whether a job may go on, and gives other threads the time that they need."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over
        self._since = time.thread_time()

    def pause_or_stop(self) -> None:
        """Pause for as long as the last piece of work took. Raises `LostJobError`."""
        if self._is_over():
            raise LostJobError
        took = time.thread_time() - self._since
        if took > 0.005:
            time.sleep(min(took, LONGEST_PAUSE))
            self._since = time.thread_time()


def run_job(job: ExchangeJob, is_over: Callable[[], bool]) -> None:
    """Do a job to its end. Raises `LostJobError`, and whatever the database and the disk raise."""
    pace = Pace(is_over)
    try:
        if job.is_export:
            _write_archive(job, pace)
        else:
            _read_archive(job, pace)
    except UnreadableError as error:
        finish_job(job.pk, str(error))


# Export


def _write_archive(job: ExchangeJob, pace: Pace) -> None:
    """Write everything of a user into a ZIP; one that a lost process has begun is written again from the start."""
    conversations = Conversation.objects.owned_by(job.user).order_by("created_at", "pk")
    keys = list(conversations.values_list("pk", flat=True))
    if not note_progress(job.pk, total=len(keys), done=0):
        raise LostJobError
    draft = files.find_draft_path(job.pk)
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", _write_manifest(job, len(keys)))
            _write_conversations(archive, job, keys, pace)
        size = draft.stat().st_size
        draft.replace(files.find_path(job.pk))
    finally:
        draft.unlink(missing_ok=True)
    finish_job(job.pk, done=len(keys), size=size)


def _write_manifest(job: ExchangeJob, count: int) -> str:
    manifest = {
        "format": ARCHIVE_FORMAT,
        "version": json_form.VERSION,
        "made_at": timezone.now().isoformat(),
        "user": {
            "username": job.user.get_username(),
            "email": job.user.email,
            "name": job.user.get_full_name(),
            "joined_at": job.user.date_joined.isoformat(),
        },
        "conversations": count,
    }
    return json.dumps(manifest, ensure_ascii=False, indent=1)


def _write_conversations(archive: zipfile.ZipFile, job: ExchangeJob, keys: Sequence[UUID], pace: Pace) -> None:
    """Write these conversations, and note now and then how many are done. Raises `LostJobError`."""
    noted_at = time.monotonic()
    for done, key in enumerate(keys, start=1):
        _write_conversation(archive, key)
        pace.pause_or_stop()
        if time.monotonic() - noted_at > NOTE_EVERY:
            noted_at = time.monotonic()
            if not note_progress(job.pk, done=done):
                raise LostJobError


def _write_conversation(archive: zipfile.ZipFile, key: UUID) -> None:
    conversation = Conversation.objects.filter(pk=key, deleted_at=None).first()
    if conversation is None:  # it was deleted a moment ago
        return
    portable = load_conversation(conversation)
    name = f"{name_file(portable)}-{key.hex[:12]}"
    document = json.dumps(json_form.write_document(portable), ensure_ascii=False, indent=1)
    archive.writestr(f"conversations/{name}.json", document)
    archive.writestr(f"markdown/{name}.md", write_markdown(portable))


# Bringing


def _read_archive(job: ExchangeJob, pace: Pace) -> None:
    """Keep the conversations of an archive, from where a lost process has come to.

    Each is kept in one transaction with the note that it was: none is kept twice, and none is left out.
    """
    path = files.find_path(job.pk)
    if not path.exists():
        raise UnreadableError("The file is not on this machine any more. Upload it again.")
    file = UploadedArchive(path, pace.pause_or_stop)
    if job.total is None and not note_progress(job.pk, total=file.count()):
        raise LostJobError
    report = read_report(job)
    for done, value in enumerate(file.read(), start=1):
        pace.pause_or_stop()
        if done > job.done:
            _keep_value(job, value, done, report)
    if finish_job(job.pk):
        path.unlink(missing_ok=True)


def _keep_value(job: ExchangeJob, value: Any, done: int, report: Report) -> None:
    try:
        portable = _read_value(value)
        with transaction.atomic():
            _keep(job, portable, report)
            if not note_progress(job.pk, done=done, report=report.to_json()):
                raise LostJobError
    except (UnreadableError, DataError, IntegrityError) as error:
        sentence = str(error) if isinstance(error, UnreadableError) else "The database refused it."
        report.unreadable += 1
        report.note(_find_title(value), f"Left out as a whole. {sentence}")
        if not note_progress(job.pk, done=done, report=report.to_json()):
            raise LostJobError from None


def _read_value(value: Any) -> PortableConversation:
    """Return the conversation of a JSON value, whichever site it is from. Raises `UnreadableError`."""
    if isinstance(value, UnreadableError):
        raise value
    try:
        return _read_form(value)
    except UnreadableError:
        raise
    except Exception as error:  # one conversation of a shape that nobody thought of costs no other one
        log.exception("a conversation of an archive could not be read")
        raise UnreadableError("This site could not read it. Its operator finds the reason in the log.") from error


def _read_form(value: Any) -> PortableConversation:
    if json_form.is_document(value):
        return json_form.read_document(value)
    if chatgpt.is_conversation(value):
        return chatgpt.read_conversation(value)
    if claude.is_conversation(value):
        return claude.read_conversation(value)
    raise UnreadableError("This is not a conversation of ChatGPT, Claude or a site like this one.")


def _keep(job: ExchangeJob, portable: PortableConversation, report: Report) -> None:
    if not portable.messages and portable.source.site != OWN_SITE:
        report.empty += 1
        return
    if keep_conversation(job.user, portable) is None:
        report.already_here += 1
        return
    report.brought += 1
    report.add_left_out(portable.title, portable.left_out)


def _find_title(value: Any) -> str:
    """Return the title of what could not be read, where it has one."""
    title = (value.get("title") or value.get("name")) if isinstance(value, dict) else None
    return title[:80] if isinstance(title, str) else "A conversation without a title"
