"""The scripts of a page: ES modules, each of which the browser asks for at once."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from posixpath import dirname, join, normpath

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_IMPORT = re.compile(r"^import (?:[^;]*? from )?\"(\.[^\"]+)\";", re.MULTILINE)
_IMPORT_ON_DEMAND = re.compile(r"\bimport\(\"(\.[^\"]+)\"\)")


@register.simple_tag
def preload_modules(*entries: str) -> SafeString:
    """Return links that let the browser fetch these modules, and all that they import, without waiting for any of them.

    A module that only another one names would come a journey later than that one.
    """
    paths = find_modules(entries) if settings.DEBUG else _found(entries)
    return format_html_join("\n", '<link rel="modulepreload" href="{}">', ((static(path),) for path in paths))


def find_modules(entries: tuple[str, ...], *, on_demand: bool = False) -> tuple[str, ...]:
    """Return the static paths of these modules and of all that they import. Raise FileNotFoundError.

    `on_demand` adds those that are imported when they are first used.
    """
    found: dict[str, None] = {}
    wanted = list(entries)
    while wanted:
        path = wanted.pop(0)
        if path not in found:
            found[path] = None
            script = _read(path)
            names = _IMPORT.findall(script) + (_IMPORT_ON_DEMAND.findall(script) if on_demand else [])
            wanted += [normpath(join(dirname(path), name)) for name in names]
    return tuple(found)


_found = lru_cache(find_modules)


def _read(path: str) -> str:
    file = finders.find(path)
    if not isinstance(file, str):
        raise FileNotFoundError(path)
    return Path(file).read_text("utf-8")
