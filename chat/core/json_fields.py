"""The fields of a JSON object whose text is still growing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from chat.core.events import Field
from chat.core.json_pointers import escape_name
from chat.core.json_schema import JSON_DECODER, MAX_NESTED

# The fields


@dataclass(slots=True)
class _Container:
    """An object or array that the answer stands in. `name` is the member or the element that is being written."""

    path: str
    is_array: bool
    name: str | None
    is_empty: bool = True

    @property
    def inside(self) -> str:
        return f"{self.path}/{self.name}"


_SIGN = re.compile(r'["{}\[\],:]')
_STRING_SIGN = re.compile(r'["\\]')


class Fields:
    """Finds what is complete of a JSON object while its text grows.

    That is each member of an object, going down into objects, and each element of an array, whole. What it gives
    depends on the text alone, not on how it is cut. It keeps the field that is open and not the text: a parser of
    partial JSON would need the whole of it for each piece, and cannot say which value is complete. After what is no
    JSON it gives nothing more.
    """

    def __init__(self) -> None:
        self._open: list[_Container] = []
        self._value: list[str] = []  # the text of the key or the value that is open
        self._nested = 0  # within an element that is given whole
        self._in_string = False
        self._escaped = False
        self._is_over = False

    def feed(self, text: str) -> list[Field]:
        """Return the fields that this piece of the text completes."""
        found: list[Field] = []
        place = 0
        try:
            while place < len(text) and not self._is_over:
                place = (
                    self._read_string(text, place, found) if self._in_string else self._pass_sign(text, place, found)
                )
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            self._is_over = True
        return found

    def _read_string(self, text: str, place: int, found: list[Field]) -> int:
        """Skip to the end of the string, or of the text; return that place."""
        if self._escaped:
            self._escaped = False
            self._value.append(text[place])
            return place + 1
        sign = _STRING_SIGN.search(text, place)
        end = sign.end() if sign else len(text)
        self._value.append(text[place:end])
        if sign and sign[0] == "\\":
            self._escaped = True
        elif sign:
            self._in_string = False
            if not self._nested:
                self._end_string(found)
        return end

    def _end_string(self, found: list[Field]) -> None:
        container = self._open[-1]
        if container.name is not None:
            self._complete(found)
        else:
            container.name = escape_name(str(self._decode_value()))

    def _pass_sign(self, text: str, place: int, found: list[Field]) -> int:
        """Skip past the next structural character; return that place."""
        match = _SIGN.search(text, place)
        end = match.start() if match else len(text)
        self._value.append(text[place:end])
        if match:
            if not self._open:
                self._begin(match[0])
            elif match[0] == '"':
                self._in_string = True
                self._value.append('"')
            elif self._nested or (match[0] in "{[" and self._open[-1].is_array):
                self._go_on_whole(match[0], found)
            else:
                self._act_on(match[0], found)
            end += 1
        return end

    def _begin(self, sign: str) -> None:
        if sign != "{" or "".join(self._value).strip():
            raise ValueError(sign)
        self._value.clear()
        self._open.append(_Container("", is_array=False, name=None))

    def _go_on_whole(self, sign: str, found: list[Field]) -> None:
        self._value.append(sign)
        self._nested += (sign in "{[") - (sign in "}]")
        if self._nested > MAX_NESTED:
            raise ValueError(sign)
        if not self._nested:
            self._complete(found)

    def _act_on(self, sign: str, found: list[Field]) -> None:
        container = self._open[-1]
        if sign == ":":
            if container.is_array or container.name is None:
                raise ValueError(sign)
            self._value.clear()
        elif sign in "{[":
            if container.name is None or len(self._open) >= MAX_NESTED:
                raise ValueError(sign)
            self._value.clear()
            self._open.append(_Container(container.inside, sign == "[", "0" if sign == "[" else None))
        else:
            if "".join(self._value).strip():
                self._complete(found)  # a number, or a word, which only what follows it ends
            if sign == ",":
                container.name = str(int(container.name or 0) + 1) if container.is_array else None
            else:
                self._end(found)

    def _complete(self, found: list[Field]) -> None:
        container = self._open[-1]
        if container.name is None:
            raise ValueError(container.path)
        container.is_empty = False
        found.append(Field(container.inside, self._decode_value()))

    def _end(self, found: list[Field]) -> None:
        ended = self._open.pop()
        if not self._open:
            self._is_over = True
            return
        if ended.is_empty:
            found.append(Field(ended.path, [] if ended.is_array else {}))
        self._open[-1].is_empty = False

    def _decode_value(self) -> Any:
        text = "".join(self._value)
        self._value.clear()
        return JSON_DECODER.decode(text)
