"""A change of a page, as htmx is sent it."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A swap of htmx. `html` is sanitised or escaped already; target and manner are our own strings."""

    target: str
    how: str
    html: str

    def __str__(self) -> str:
        return f'<hx-partial hx-target="{self.target}" hx-swap="{self.how}">{self.html}</hx-partial>'
