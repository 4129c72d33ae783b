"""Static files at addresses that change with their content, so that a browser asks for each of them once a release."""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.files.base import ContentFile
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound
from servestatic.middleware import ServeStaticMiddleware  # type: ignore[import-untyped]

from chat.http.negotiation import accepts_gzip

FOREVER = "public, max-age=31536000, immutable"
OF_ANOTHER_RELEASE = "no-cache"

# The query of a proxy that has another process to ask; see `@static` in deploy/nginx.conf.
EXACT = "exact"

_VERSIONED = re.compile(r"(?P<version>[0-9a-f]{12})/(?P<name>.+)")
# Lines that are nothing but a comment; those of packages are left as they are.
_COMMENTS = {
    ".js": re.compile(rb"^[ \t]*//.*$", re.MULTILINE),
    ".css": re.compile(rb"^[ \t]*/\*.*?\*/[ \t]*$", re.MULTILINE | re.DOTALL),
}
_TEXT = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def list_files() -> dict[str, Path]:
    """Return the file of each name that a template may give to `{% static %}`; of two the first that is found."""
    files: dict[str, Path] = {}
    for finder in finders.get_finders():
        for name, storage in finder.list(None):
            files.setdefault(name.replace("\\", "/"), Path(storage.path(name)))
    return files


@cache
def find_version() -> str:
    """Return twelve hexadecimal digits for the content of all static files: the same in each process of a release.

    One version for all of them, because modules name one another by relative addresses: a module and those that it
    imports are of one release then.
    """
    digest = hashlib.sha256()
    for name, path in sorted(list_files().items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class VersionedStorage(StaticFilesStorage):
    """Names files `/static/<version>/…` and collects them there, beside those of earlier releases for pages still open.

    A developer's site (DEBUG), whose files change under it, has no versions.
    """

    def url(self, name: str | None) -> str:
        return super().url(_add_version(name or ""))

    def save(self, name: str | None, content: IO[Any], max_length: int | None = None) -> str:
        """Collect a file as the site itself would send it."""
        return super().save(name, ContentFile(shorten(name or "", content.read())), max_length)

    def path(self, name: str | PathLike[str]) -> str:
        return super().path(_add_version(fspath(name)))


def shorten(name: str, content: bytes) -> bytes:
    """Return a file of the site's own without its comments, which are a fifth of what a browser would load.

    The lines keep their numbers.
    """
    comments = _COMMENTS.get(Path(name).suffix) if name.startswith("chat/") else None
    return comments.sub(lambda found: b"\n" * found[0].count(b"\n"), content) if comments else content


def _add_version(name: str) -> str:
    return name if settings.DEBUG else f"{find_version()}/{name}"


class StaticMiddleware(ServeStaticMiddleware):  # type: ignore[misc]  # the package has no types
    """Serves static files on the event loop, those with a version for ever, and text compressed.

    A page of another release gets this one's files, which is better than none, but keeps none of them. A proxy that
    can ask a process of that release hears 404 first.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        found = _VERSIONED.fullmatch(request.path_info.removeprefix(self.static_prefix))
        if found is None or not request.path_info.startswith(self.static_prefix):
            return await super().__call__(request)  # type: ignore[no-any-return]
        is_ours = found["version"] == find_version()
        file = self.files.get(self.static_prefix + found["name"])
        if file is None or (not is_ours and EXACT in request.GET):
            return HttpResponseNotFound()
        content_type = _TEXT.get(Path(found["name"]).suffix)
        if content_type and request.method == "GET" and accepts_gzip(request.headers.get("Accept-Encoding", "")):
            response: HttpResponseBase = HttpResponse(
                _compress(found["name"]), content_type=f"{content_type}; charset=utf-8"
            )
            response.headers["Content-Encoding"] = "gzip"
        else:
            response = await self.aserve(file, request)
        response.headers["Cache-Control"] = FOREVER if is_ours else OF_ANOTHER_RELEASE
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


@cache
def _compress(name: str) -> bytes:
    """Return a file without its comments and compressed, kept for the next that asks: all that pages use is 75 KB."""
    return gzip.compress(shorten(name, list_files()[name].read_bytes()), 9, mtime=0)
