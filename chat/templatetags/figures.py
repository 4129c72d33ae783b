"""How a figure is written for people: dollars, durations, shares, large numbers."""

from __future__ import annotations

from decimal import Decimal

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.reports import Figures

register = template.Library()

NO_PRICE = "no price"

_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@register.filter
def compact(value: float) -> str:
    """1234567 as 1.23M, for a place where the whole number stands beside it."""
    for size, letter in _THOUSANDS:
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < size * 999.5 else f"{value / size:.0f}{letter}"
    return f"{value:g}"


@register.filter
def dollars(value: Decimal | float) -> str:
    """Cents, or as many places as a smaller sum needs to be seen."""
    if value == 0 or value >= 1:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= Decimal("0.0001") else f"${value:.8f}"


@register.filter
def cost(figures: Figures) -> SafeString:
    """What calls cost, with the exact sum for programs and pointers, and how many of them have no price."""
    if figures.cost is None:
        return format_html('<span class="no-price">{}</span>', NO_PRICE)
    said = format_html('<data value="{0}" title="exactly ${0}">{1}</data>', f"{figures.cost:f}", dollars(figures.cost))
    if not figures.unpriced:
        return said
    calls = f"{intcomma(figures.unpriced)} call{'' if figures.unpriced == 1 else 's'} with {NO_PRICE}"
    return format_html('{} <span class="no-price" title="{}">+&nbsp;?</span>', said, calls)


@register.filter
def seconds(ms: float | None) -> str:
    """Milliseconds up to a second, then seconds."""
    if ms is None:
        return "–"  # noqa: RUF001 - a dash in the place of a figure
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 10_000 else f"{ms / 1000:.1f} s"


@register.filter
def percent(share: float) -> str:
    """A share of 1; what is not nothing is never shown as 0 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share * 100:.1f} %"


@register.filter
def share_of(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@register.filter
def entry(mapping: dict[str, str], key: str) -> str:
    """What a mapping holds for a key, or nothing."""
    return mapping.get(key, "")
