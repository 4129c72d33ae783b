"""Tags of the usage review: the address of what a line counts, and the change against the period before."""

from __future__ import annotations

from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.accounting.figures import Line
from chat.accounting.report_steps import find_days_of_step

register = template.Library()

# What a page's address loses when one line of a table is looked at.
PLACE = ("page", "after")


@register.simple_tag(takes_context=True, name="line_query")
def make_line_query(context: template.Context, by: str, line: Line, step: str = "", **more: str) -> str:
    """Return the query that selects what a line counts, with the filters of the page; "" where none does."""
    chosen = _find_filter(by, line, step)
    if not chosen:
        return ""
    query = context["request"].GET.copy()
    for name in PLACE if "start" not in chosen else (*PLACE, "period"):
        query.pop(name, None)
    for name, value in {**chosen, **more}.items():
        query[name] = value
    return f"?{query.urlencode()}"


def _find_filter(by: str, line: Line, step: str) -> dict[str, str]:
    if by == "error":
        return {"outcome": "interrupted", "error_code": line.name}
    if by == "user":
        return {"user": line.name} if line.key else {}
    if by in {"group", "conversation"}:
        return {by: str(line.key)} if line.key else {}
    if by != "day":
        return {by: line.name} if by in {"model", "provider", "purpose"} else {}
    first, last = find_days_of_step(line.name, step)
    return {"start": str(first), "end": str(last)}


@register.simple_tag
def change(now: float | Decimal | None, before: float | Decimal | None) -> SafeString | str:
    """Return how a figure has changed, in percent of what it was; "" where it was not known or nothing."""
    if now is None or not before:
        return ""
    percent = round(100 * (float(now) - float(before)) / float(before))
    if not percent:
        return "as before"
    sign = "+" if percent > 0 else "−"  # noqa: RUF001 - a minus
    return format_html('<span class="change">{}{}&nbsp;%</span>', sign, f"{abs(percent):,}")
