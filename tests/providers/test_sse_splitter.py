"""What all wire formats rely on: the same events however the bytes are cut, the same text however the deltas are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.core.errors import ChatError
from chat.core.events import Finish, Reasoning, Token, ToolArguments, make_storable
from chat.providers import decoder, sse

Outcome = tuple[list[sse.SSE], bool]


def split(reads: Iterable[bytes], limit: int = 1000) -> Outcome:
    """Return the events of the reads, and whether a line or an event was too long."""
    splitter = sse.SSESplitter(limit)
    events: list[sse.SSE] = []
    try:
        for read in reads:
            for event in splitter.feed(read):
                events.append(event)  # noqa: PERF402 -- what came before a failure counts
    except ChatError:
        return events, True
    return events, False


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\r", [(b"", b"a")]),
        (b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [(b"error", b"a"), (b"", b"b")]),
        (b"event:error\n\ndata: b\n\n", [(b"", b"b")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data: a\ndata\ndata:\n\n", [(b"", b"a\n\n")]),
        (b"error: a\n\ndata: b\n\n", [(b"error", b"a"), (b"", b"b")]),
        (b": ping\n\ndata: a\n: ping\n\n", [(b"", b"a")]),
        (b'{"a": 1}\n', [(b"", b'{"a": 1}')]),
        (b'data: a\n\n{\n  "a": {\n  }\n}\ndata: b\n\n', [(b"", b"a"), (b"", b'{\n  "a": {\n  }\n}'), (b"", b"b")]),
        (b'[{\n "a": {\n }\n}\n]\n', [(b"", b'[{\n "a": {\n }\n}\n]')]),
        (b"[\r\n {\r\n }\r\n]\r\n", [(b"", b"[\n {\n }\n]")]),
        (b"{\n 1\ndata: a\n\n}\n", [(b"", b"a")]),
        (b"[DONE]\n}\ndata: a\n\n", [(b"", b"a")]),
        (b"id: 1\nretry: 5\nwhat: ever\ndata: a\n\n", [(b"", b"a")]),
        (b"datax: a\ndat: b\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
        ("data: a\u2028b\x0b\x0c\x85\n\n".encode(), [(b"", "a\u2028b\x0b\x0c\x85".encode())]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events_of_a_stream_are_the_same_whole_and_byte_by_byte(stream: bytes, events: list[sse.SSE]) -> None:
    assert split([stream]) == (events, False)
    assert split(stream[at : at + 1] for at in range(len(stream))) == (events, False)


_PIECES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: e",
        b": c",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"a",
        "é€😀".encode(),
        b"\xef\xbb\xbf",
    ]
)


@st.composite
def _cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = b"".join(draw(st.lists(_PIECES, max_size=40)))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(_cut_streams(), st.integers(1, 60))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cut: tuple[bytes, list[bytes]], limit: int) -> None:
    stream, reads = cut
    assert split(reads, limit) == split([stream], limit)


def _parse_by_the_specification(stream: bytes) -> list[sse.SSE]:
    """Parse a stream as the WHATWG's specification says it, a line at a time, without regard to speed."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[sse.SSE] = []
    name, data = b"", b""
    for line in text.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                events.append((name, data.removesuffix(b"\n")))
            name, data = b"", b""
        elif field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
    return events


@given(_cut_streams())
def test_events_are_those_of_the_specification(cut: tuple[bytes, list[bytes]]) -> None:
    stream, reads = cut
    assert split(reads) == (_parse_by_the_specification(stream), False)


def test_an_object_without_end_is_refused_as_soon_as_it_passes_the_limit() -> None:
    assert split([b"{\n", *[b" 1,\n"] * 300]) == ([], True)


def test_a_line_without_end_is_refused_as_soon_as_it_passes_the_limit() -> None:
    splitter = sse.SSESplitter(1_000_000)
    assert list(splitter.feed(b"data: kept\n\ndata: ")) == [(b"", b"kept")]
    for _ in range(15):  # 983,040 bytes
        assert list(splitter.feed(b"x" * 65_536)) == []
    with pytest.raises(ChatError, match="upstream_error: sent a line or event of more than 1000000 bytes"):
        list(splitter.feed(b"x" * 65_536))


def test_an_event_without_end_is_refused_too() -> None:
    assert split([b"data: kept\n\n", *[b"data: xxxxxxxxxx\n"] * 1000], 1000) == ([(b"", b"kept")], True)


def test_events_before_a_long_line_of_the_same_read_are_given() -> None:
    assert split([b"data: a\n\ndata: " + b"x" * 100 + b"\n\n"], 50) == ([(b"", b"a")], True)


def test_a_long_line_in_many_reads() -> None:
    line = b"x" * 5_000_000
    reads = [b"data: ", *(line[at : at + 1000] for at in range(0, len(line), 1000)), b"\n\n"]
    assert split(reads, 6_000_000) == ([(b"", line)], False)


def test_neighbouring_pieces_of_one_text_become_one_event() -> None:
    batch = decoder.BatchBuilder()
    pieces: list[tuple[decoder.TextKind, str]] = [
        (Reasoning, "hm"),
        (Token, "a"),
        (Token, "b\x00"),
        ("call_1", "{"),
        ("call_2", "["),
        ("call_2", "]"),
        (Token, "c"),
    ]
    for kind, piece in pieces:
        batch.add_text(kind, piece)
    assert batch.take() == [
        Reasoning("hm"),
        Token("ab\ufffd"),
        ToolArguments("call_1", "{"),
        ToolArguments("call_2", "[]"),
        Token("c"),
    ]
    assert batch.take() == []


def test_a_half_of_a_pair_waits_for_its_own_text_only() -> None:
    batch = decoder.BatchBuilder()
    batch.add_text(Token, "a\ud83d")
    assert batch.take() == [Token("a")]
    batch.add_text(Reasoning, "\ude00")
    assert batch.take() == [Reasoning("\ufffd")]
    batch.add_text(Token, "\ude00b")
    assert batch.take() == [Token("😀b")]


def test_a_half_of_a_pair_that_nothing_follows_comes_before_the_end() -> None:
    batch = decoder.BatchBuilder()
    batch.add_text(Token, "a\ud83d")
    batch.finish("stop")
    assert batch.take() == [Token("a"), Token("\ufffd"), Finish("stop")]


@given(st.text(), st.data())
def test_text_arrives_whole_however_its_code_units_are_cut(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-16-le")
    units = [raw[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(raw), 2)]
    batch = decoder.BatchBuilder()
    received = ""
    for unit in units:
        batch.add_text(Token, unit)
        if data.draw(st.booleans()):
            received += _join_text(batch)
    batch.finish("stop")
    assert received + _join_text(batch) == make_storable(text)


@given(st.text(st.characters(codec=None)), st.data())
def test_any_text_becomes_storable(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    batch = decoder.BatchBuilder()
    batch.add_text(Token, text[:cut])
    received = _join_text(batch)
    batch.add_text(Token, text[cut:])
    batch.finish("stop")
    received += _join_text(batch)
    assert received == make_storable(received)
    assert len(received) <= len(text)


def _join_text(batch: decoder.BatchBuilder) -> str:
    return "".join(event.content for event in batch.take() if isinstance(event, Token))
