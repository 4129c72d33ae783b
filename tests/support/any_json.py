"""Any JSON in any place of a stream, and what a decoder makes of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent, Reasoning, Token, ToolArguments, ToolCall, Usage
from chat.providers.decoder import Decoder

# A value of every type, plain ones first so that failures shrink to them.
ODD = st.one_of(
    st.sampled_from(
        [None, "", 0, False, True, [], {}, "stop", "0", "0\x1f", "length", -1, 1.5, 10**15, "x", [None], {"a": 1}]
    ),
    st.integers(),
    st.floats(),
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
)


def decode(decoder: Decoder, reads: list[bytes]) -> tuple[list[ProviderEvent], ChatError | None]:
    """Return what a decoder makes of these reads of a body, and its failure if it has one."""
    events: list[ProviderEvent] = []
    for read in reads:
        events += decoder.feed(read)
        if decoder.finished or decoder.failure:
            return events, decoder.failure
    events += decoder.close("the body has ended")
    return events, decoder.failure


def collect_text(events: list[ProviderEvent], kind: type[Token | Reasoning] = Token) -> str:
    """Return the text of one kind that the events bring."""
    return "".join(event.content for event in events if isinstance(event, kind))


def summarise_events(events: list[ProviderEvent]) -> tuple[Any, ...]:
    """Return what an answer comes to, whatever it was cut into."""
    names = [event.name for event in events if isinstance(event, ToolCall)]
    arguments = "".join(event.delta for event in events if isinstance(event, ToolArguments))
    usages = [event for event in events if isinstance(event, Usage)]
    finishes = [event for event in events if isinstance(event, Finish)]
    return collect_text(events), collect_text(events, Reasoning), names, arguments, usages[-1:], finishes


def list_paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield every place in a JSON value, but the value itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inner:
        yield (*before, key)
        yield from list_paths(member, (*before, key))


def find_value(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what stands in one of the places of a JSON value."""
    for key in path:
        value = value[key]
    return value


def replace_value(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """Return a JSON value with another one in one of its places."""
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    return changed
