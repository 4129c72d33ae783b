"""Figures as people read them: dollars, durations, shares, large numbers."""

from __future__ import annotations

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.accounting.figures import Figures
from chat.accounting.formatting import write_dollars

register = template.Library()
register.filter("dollars", write_dollars)

NO_PRICE = "no price"

_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@register.filter("compact")
def write_compact(value: float) -> str:
    """Return 1234567 as 1.23M, for a place where the whole number stands beside it."""
    for size, letter in _THOUSANDS:
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < size * 999.5 else f"{value / size:.0f}{letter}"
    return f"{value:g}"


@register.filter("cost")
def write_cost(figures: Figures) -> SafeString:
    """Return what calls cost, and how many of them have no price."""
    if figures.cost is None:
        return format_html('<span class="no-price">{}</span>', NO_PRICE)
    amount = format_html(
        '<data value="{0}" title="exactly ${0}">{1}</data>', f"{figures.cost:f}", write_dollars(figures.cost)
    )
    if not figures.unpriced:
        return amount
    calls = f"{intcomma(figures.unpriced)} call{'' if figures.unpriced == 1 else 's'} with {NO_PRICE}"
    return format_html('{} <span class="no-price" title="{}">+&nbsp;?</span>', amount, calls)


@register.filter("seconds")
def write_milliseconds(ms: float | None) -> str:
    """Return a time in milliseconds up to a second, then in seconds."""
    if ms is None:
        return "–"  # noqa: RUF001 - a dash in the place of a figure
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 10_000 else f"{ms / 1000:.1f} s"


@register.filter("percent")
def write_percent(share: float) -> str:
    """Return a share of 1 in percent; a share above nothing is never shown as 0 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share * 100:.1f} %"


@register.filter("share_of")
def compute_share(part: int, whole: int) -> float:
    """Return the part of the whole that is given, as a share of 1; 0 of nothing."""
    return part / whole if whole else 0.0


@register.filter("entry")
def get_entry(mapping: dict[str, str], key: str) -> str:
    """Return what a mapping holds for a key, or nothing."""
    return mapping.get(key, "")
