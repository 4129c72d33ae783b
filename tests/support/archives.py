"""Archives as their makers write them, and files of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile

from chat.conversations.exchange.files import sign
from chat.conversations.exchange.worker import get_exchange_worker
from chat.models import ExchangeJob, User
from tests.support.site import Site
from tests.support.waiting import wait_until


def pack(members: Mapping[str, Any]) -> bytes:
    """Return a ZIP of these members; what is no bytes is written as JSON."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return file.getvalue()


async def bring_archive(site: Site, content: bytes, name: str = "archive.zip") -> ExchangeJob:
    """Bring a file as a browser does, and return its job when it has ended."""
    word = sign("import", str(site.user.pk))
    before = {job.pk async for job in ExchangeJob.objects.all()}
    response = await site.client.post(f"/account/data/import/{word}/", {"file": SimpleUploadedFile(name, content)})
    assert response.status_code == 302, response.content
    [job] = [job async for job in ExchangeJob.objects.exclude(pk__in=before)]
    return await wait_for_job(job)


async def wait_for_job(job: ExchangeJob) -> ExchangeJob:
    """Return a job when it has ended."""

    async def has_ended() -> bool:
        get_exchange_worker().wake()
        await job.arefresh_from_db()
        return job.is_finished

    await wait_until(has_ended)
    return job


async def take_away(site: Site) -> dict[str, Any]:
    """Have everything of a user portable, and return the members of the archive: JSON decoded, the rest as text."""
    before = {job.pk async for job in ExchangeJob.objects.all()}
    response = await site.client.post("/account/data/export/")
    assert response.status_code == 302, response.content
    [job] = [job async for job in ExchangeJob.objects.exclude(pk__in=before)]
    assert not (await wait_for_job(job)).error
    return unpack(await download(site, job))


async def download(site: Site, job: ExchangeJob) -> bytes:
    """Return the file of a job, by the link that its page shows."""
    response = await site.stream(f"/account/data/files/{sign('file', str(job.pk))}/")
    assert response.status_code == 200
    return b"".join([piece async for piece in response])


def unpack(content: bytes) -> dict[str, Any]:
    """Return the members of a ZIP: JSON decoded, the rest as text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            name: json.loads(archive.read(name)) if name.endswith(".json") else archive.read(name).decode()
            for name in archive.namelist()
        }


def list_documents(archive: Mapping[str, Any]) -> list[Any]:
    """Return the conversations of an archive of this site, in their order."""
    return [archive[name] for name in sorted(archive) if name.startswith("conversations/")]


async def make_site(name: str) -> Site:
    """Return the site as another user meets it."""
    return await sync_to_async(Site)(await User.objects.acreate_user(name))


def say(
    key: str, parent: str | None, role: str, content: Any, children: Iterable[str] = (), **fields: Any
) -> dict[str, Any]:
    """Return an entry of ChatGPT's mapping; `content` is a text, or the whole content."""
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    metadata = fields.pop("metadata", {})
    author = {"role": role, "name": fields.pop("name", None), "metadata": {}}
    message = {
        "id": key,
        "author": author,
        "create_time": 1_700_000_000.25,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": metadata,
        "recipient": "all",
        "channel": None,
        **fields,
    }
    return {"id": key, "message": message, "parent": parent, "children": list(children)}
