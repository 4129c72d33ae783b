"""A question, and a rating, as programs write them in JSON."""

from __future__ import annotations

from typing import Any

from chat.api.shapes import NewRating, Question, get_given
from chat.conversations import turns
from chat.conversations.ratings import Opinion
from chat.core import json_schema
from chat.http.errors import ApiError
from chat.models import Message
from chat.tasks import run_in_thread

# The fields of a question that the page's form has too.
FIELDS = ("content", "model", "turn", "edits", "effort")


def read_fields(question: Question) -> dict[str, Any]:
    """Return the fields of a `MessageForm` that a program gave."""
    return {name: value for name in FIELDS if (value := get_given(getattr(question, name))) is not None}


def read_opinion(rating: NewRating) -> Opinion:
    """Return what a program thinks of an answer."""
    return Opinion(rating.value, get_given(rating.comment), get_given(rating.consent))


async def check_turn(question: Question, answer: Message, schema: dict[str, Any] | None) -> None:
    """Refuse a question whose turn began the answer to another one: 409, with that answer's id. Raises `ApiError`."""
    if get_given(question.turn) is not None:
        await run_in_thread(turns.check_turn, answer, question.content, get_given(question.model), schema)


async def read_schema(question: Question) -> dict[str, Any] | None:
    """Return the schema that the answer has to keep to, given as it is or as OpenAI's API has it. Raises `ApiError`."""
    ours, theirs = get_given(question.response_schema), get_given(question.response_format)
    name = "response_format" if ours is None else "response_schema"
    if theirs is not None:
        match theirs:
            case {"type": "text"}:
                theirs = None
            case {"type": "json_schema", "json_schema": {"schema": dict(theirs)}}:
                pass
            case _:
                sentence = "`response_format` must have a `json_schema` with its `schema`."
                raise ApiError(400, "bad_request", sentence, field="response_format")
    if ours is not None and theirs is not None:
        raise ApiError(400, "bad_request", "Send `response_schema` or `response_format`, not both.", field=name)
    schema = theirs if ours is None else ours
    if schema is None:
        return None
    try:
        # A thread: to check a schema may take seconds, and it comes from a stranger.
        return await run_in_thread(json_schema.check_schema, schema)
    except json_schema.UnusableSchemaError as error:
        raise ApiError(400, "bad_request", str(error), field=name) from None
