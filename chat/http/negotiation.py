"""The wishes of a client: `Accept` and `Accept-Encoding` (RFC 9110, section 12.5) and `Prefer` (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf";[ \t]*(?:({_TOKEN})[ \t]*(?:=[ \t]*({_TOKEN}|{_QUOTED}))?)?[ \t]*")
_RANGE = re.compile(rf"[ \t]*({_TOKEN}(?:/{_TOKEN})?)[ \t]*((?:;(?:[^,\";]|{_QUOTED})*)*)[ \t]*")
_PREFERENCE = re.compile(rf"[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*({_TOKEN}|{_QUOTED}))?[ \t]*(?:;(?:[^,\"]|{_QUOTED})*)?")
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED}|")*')
_QVALUE = re.compile(r"0?\.\d+|0\.?|1(?:\.0*)?", re.ASCII)  # ".2" too, which Java sends

JSON = "application/json"


class WeightedElement(NamedTuple):
    """One element of an `Accept…` header, in lower case, and its weight from 0 to 1."""

    name: str
    quality: float


def split_list(header: str) -> list[str]:
    """Return the elements of a header that is a list; a comma in quotes ends none."""
    elements, start = [], 0
    while start <= len(header):
        found = _ELEMENT.match(header, start)
        end = found.end() if found else len(header)
        elements.append(header[start:end].strip(" \t"))
        start = end + 1
    return [element for element in elements if element]


def read_weights(header: str) -> list[WeightedElement]:
    """Return the elements of an `Accept…` header that keep to the grammar; others are passed over.

    Parameters besides `q` narrow nothing down: the site has one form of each media type. An invalid weight
    counts as 0, so that a mistake never brings what was not wanted.
    """
    found = []
    for element in split_list(header):
        if match := _RANGE.fullmatch(element):
            given = [value for name, value in _PARAMETER.findall(match[2]) if name.lower() == "q"]
            weight = given[0] if given else "1"
            found.append(WeightedElement(match[1].lower(), float(weight) if _QVALUE.fullmatch(weight) else 0.0))
    return found


def accepts_media_type(accept: str, media_type: str) -> bool:
    """Return whether an `Accept` header names a media type; a wildcard does not ask for it."""
    return any(name == media_type and quality > 0 for name, quality in read_weights(accept))


def choose_media_type(accept: str | None, offers: Sequence[str]) -> str | None:
    """Return which of the media types on offer, the site's favourite first, a client likes best; None for none of them.

    Each is judged by the most exact element that it fits. Of those with the same weight, one that is named goes before
    one that only a wildcard admits, and of those that are named JSON comes last: a client that names a stream beside it
    can read one. Then the site's order decides. No header, and an empty one, take anything; a bare `*`,
    which Java's URLConnection sends, is `*/*`.
    """
    weights = read_weights(accept) if accept and split_list(accept) else [WeightedElement("*/*", 1.0)]
    ranks = {offer: _weigh(offer, weights) for offer in offers}
    fitting = [offer for offer in offers if ranks[offer][0] > 0]
    return max(fitting, key=lambda offer: (ranks[offer], ranks[offer][1] == 2 and offer != JSON), default=None)


def _weigh(offer: str, weights: Sequence[WeightedElement]) -> tuple[float, int]:
    """Return the weight of a media type, and how exactly it was named: 2 for its name, 0 for any type."""
    for exactness, names in ((2, {offer}), (1, {f"{offer.partition('/')[0]}/*"}), (0, {"*/*", "*"})):
        fitting = [quality for given, quality in weights if given in names]
        if fitting:
            return max(fitting), exactness
    return 0.0, 0


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client takes gzip; one that says nothing is sent none."""
    weights = dict(read_weights(accept_encoding))
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def read_preferences(prefer: str) -> Mapping[str, str]:
    """Return the preferences of a `Prefer` header by their names in lower case, with "" where there is no value.

    Of two with the same name the first one counts (RFC 7240, section 2).
    """
    found: dict[str, str] = {}
    for element in split_list(prefer):
        if match := _PREFERENCE.fullmatch(element):
            found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    return found
