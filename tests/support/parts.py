"""The parts of an answer on a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

from django.template.loader import render_to_string

from chat.streaming.page_change import Change
from chat.streaming.page_parts import Parts
from tests.support.page import Page

ANSWER = UUID("0a2c1b5e-5c1f-4a8e-9f3e-2f7c0a4f9d10")

PART = re.compile(
    r'<(?:div|details) class="\w+" id="(part-[^"]+)".*?(?=<(?:div|details) class="\w+" id="part-|\Z)', re.DOTALL
)


def render_parts(parts: Parts) -> str:
    return "".join(render_to_string(part.template, {"part": part}).strip() for part in parts)


class Parted:
    """A browser's answer: the parts by their id, each a string that its changes are made to."""

    def __init__(self, html: str) -> None:
        self.parts: dict[str, str] = {}
        self._add(html)

    def _add(self, html: str) -> None:
        for found in PART.finditer(html):
            self.parts[found[1]] = found[0]

    def make(self, changes: Sequence[Change]) -> None:
        assert len({change.target for change in changes}) == len(changes), (
            "htmx finds all targets before the first swap"
        )
        for target, how, html in changes:
            if target.startswith("#parts-"):
                self._add(html)
                continue
            id_, _, inside = target.removeprefix("#").partition(" ")
            self.parts[id_] = change_part(self.parts[id_], inside, how, html)

    @property
    def html(self) -> str:
        return "".join(self.parts.values())


def change_part(part: str, inside: str, how: str, html: str) -> str:
    if part.startswith("<div"):
        opening, rest = part[: part.index(">") + 1], part[part.index(">") + 1 : part.rindex("</div>")]
        text = Page(rest)
        text.swap(inside, how, html)
        return f"{opening}{text.html}</div>"
    name = inside.removeprefix("> ").removeprefix(".")
    tag = "summary" if name == "summary" else r"\w+"
    attributes = "[^>]*" if name == "summary" else rf' class="{name}"[^>]*'
    element = re.search(rf"<({tag}){attributes}>(.*?)</\1>", part, re.DOTALL)
    assert element
    if how == "outerHTML":
        return part[: element.start()] + html + part[element.end() :]
    inner = element[2] + html if how == "beforeend" else html
    return part[: element.start(2)] + inner + part[element.end(2) :]
