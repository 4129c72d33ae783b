"""A template that is rendered once for what it says, and filled in at the places that differ each time.

The foot of an answer takes Django 1 to 2 ms of CPU time, and it is the same under nearly every answer, apart from ids,
the time and some figures. Of the 12,000 functions that a question from a page called, stencils save 1,900.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from uuid import uuid4

from django.template import Context, Engine, Template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString

# Renderings that are kept of one template, of some 4 KB each.
KEPT = 500


class Stencil:
    """A template with places: variables whose values it only writes, into texts, attributes and addresses.

    It sees nothing but its places and its context. It cannot compare or filter a place, because a mark stands there
    while it is rendered.
    """

    def __init__(self, template: str, *places: str) -> None:
        self._template = template
        # An id is written into HTML and into an address as it is, and a new one is in nobody's text.
        self._marks = {place: str(uuid4()) for place in places}
        self._get_pattern = lru_cache(KEPT)(self._render_pattern)

    def fill(self, places: Mapping[str, object], **context: Hashable) -> SafeString:
        """Return the template's HTML for a context, with these values in its places, escaped unless they are safe.

        It is rendered once for each context. Raises KeyError for a place without a value.
        """
        # A template that a developer changes is a new object.
        template = Engine.get_default().get_template(self._template)
        pattern = self._get_pattern(template, tuple(context.items()))
        return SafeString(pattern.format_map({place: _write(places[place]) for place in self._marks}))

    def _render_pattern(self, template: Template, context: tuple[tuple[str, Hashable], ...]) -> str:
        """Return a format string: the HTML with `{place}` where a place is."""
        html = template.render(Context({**dict(context), **self._marks})).strip()
        html = html.replace("{", "{{").replace("}", "}}")
        for place, mark in self._marks.items():
            html = html.replace(mark, f"{{{place}}}")
        return html


def _write(value: object) -> str:
    return conditional_escape(value if isinstance(value, str) else str(value))
