"""Prompts: the conversation in the form in which a model gets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django.conf import settings
from django.db.models import IntegerField, UUIDField, prefetch_related_objects

from chat.accounts.model_registry import is_retired
from chat.conversations import refusals
from chat.conversations.context_window import (
    count_free_tokens,
    estimate_turn_tokens,
    find_context_window,
    fit_into_window,
)
from chat.conversations.effort import find_wished_effort
from chat.conversations.offered_tools import offer_tools
from chat.core.events import Continued, Lasting, NativeForm, Token, ToolArguments, ToolResult
from chat.core.events import ToolCall as ToolCalled
from chat.core.transcript import Transcript
from chat.models import (
    Message,
    Role,
    ToolCall,
    sort_branch,
)
from chat.models.compiled import Select
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from chat.providers.base import Adaptation, CalledTool, Prompt, Turn

_SPEAKERS: dict[str, Literal["user", "assistant"]] = {Role.USER: "user", Role.ASSISTANT: "assistant"}

# Messages of a branch are read in such pieces, from its end, until the model's window is full. Most conversations are
# one piece; 128,000 tokens are three or four.
READ_AT_ONCE = 100


def build_continuation_prompt(answer: Message, model: str) -> Prompt:
    """Return the prompt by which a model continues its partial answer.

    Some models continue when the last turn is their own, which must not end in a blank; the others are asked to.
    """
    assert answer.parent is not None  # noqa: S101 - an answer answers a question
    answered = [Turn("assistant", answer.text.rstrip())]
    if not refusals.find_known_capabilities(model).prefill:
        answered.append(Turn("user", CONTINUE_INSTRUCTION))
    return replace(build_prompt(answer.parent, model, answered)[0], answer_so_far=answer.text)


def build_resumption_prompt(answer: Message, model: str) -> Prompt:
    """Return the prompt by which a model continues an interrupted answer, from its last settled step.

    Steps whose tools were run, or were about to be, are sent with their results. The model continues the text that came
    after them. Calls that were not complete are left out, so that the model may make them again. An answer without
    steps and text is asked for again.
    """
    assert answer.parent is not None  # noqa: S101 - an answer answers a question
    steps = _make_settled_turns(answer)
    last = steps[-1] if steps else None
    if last is None or last.role == "tool":
        return build_prompt(answer.parent, model, steps)[0]
    answered = [*steps[:-1], replace(last, content=last.content.rstrip())]
    if not refusals.find_known_capabilities(model).prefill:
        answered.append(Turn("user", CONTINUE_INSTRUCTION))
    return replace(build_prompt(answer.parent, model, answered)[0], answer_so_far=last.content)


_branch = Select(
    Message,
    lambda end, most: Message.objects.only("parent", "role", "text", "outline", "model").select_branch(end, most),
    UUIDField(),
    IntegerField(),
)


def _load_branch(question: Message, room: float | None, model: str) -> tuple[list[Turn], int, str]:
    """Return the end of the branch up to the question, how many messages stand before it, and the last answer's model.

    The end of the branch has as many tokens as there is `room` for, and little more; with None it is the whole branch.
    The messages before it are not read. Empty answers are left out.
    """
    turns = _make_turns(question)
    last_model = ""
    earlier = question.parent_id
    while earlier is not None and (room is None or estimate_turn_tokens(turns, model) <= room):
        messages = sort_branch(_branch(earlier, READ_AT_ONCE), earlier)
        prefetch_related_objects([message for message in messages if _has_calls(message)], "tool_calls")
        turns = [turn for message in messages for turn in _make_turns(message)] + turns
        last_model = last_model or messages[-1].model
        earlier = messages[0].parent_id
    return turns, Message.objects.count_branch(earlier) if earlier else 0, last_model


def _has_events(message: Message) -> bool:
    """Return whether a message holds more than text, such as a call of a tool."""
    return any(isinstance(entry, dict) for entry in message.outline)


def _has_calls(message: Message) -> bool:
    """Return whether a message called tools."""
    return any(isinstance(entry, dict) and entry["type"] == "tool_call" for entry in message.outline)


def _make_turns(message: Message) -> list[Turn]:
    """Return a message as turns. An answer that called tools is several, with the results between them."""
    if message.role == Role.USER or not _has_events(message):
        return [Turn(_SPEAKERS[message.role], message.text)] if message.text else []
    return [turn for step, results in _split_steps(message) for turn in step.make_turns(results)]


def _make_settled_turns(answer: Message) -> list[Turn]:
    """Return an answer as turns, without the calls of tools whose rows were never written; their text is kept."""
    turns: list[Turn] = []
    for step, results in _split_steps(answer):
        if len(results) < len(step.calls):
            step.calls, step.native_form = {id_: step.calls[id_] for id_ in results}, ""
        if step.text.strip() or step.calls:
            turns += step.make_turns(results)
    return turns


def _split_steps(answer: Message) -> Iterator[tuple[_Step, dict[str, list[ToolCall]]]]:
    """Yield the steps of an answer with the results of their calls, by the calls' ids."""
    rows: dict[str, list[ToolCall]] = {}
    for row in answer.tool_calls.all() if _has_calls(answer) else ():
        rows.setdefault(row.call_id, []).append(row)
    transcript = Transcript.restore(answer.text, "", answer.outline)
    step = _Step()
    for event in transcript.list_with_native_forms():
        if step.is_over_before(event):
            yield step, _take_results(step, rows)
            step = _Step()
        step.take(event, transcript.extras)
    yield step, _take_results(step, rows)


def _take_results(step: _Step, rows: dict[str, list[ToolCall]]) -> dict[str, list[ToolCall]]:
    """Take the first row of each of the step's calls from `rows`; a later step may use the same id again."""
    return {id_: [rows[id_].pop(0)] for id_ in step.calls if rows.get(id_)}


@dataclass
class _Step:
    """The output of one upstream call: a text, then calls of tools."""

    text: str = ""
    calls: dict[str, CalledTool] = field(default_factory=dict)
    native_form: str = ""
    has_results: bool = False
    cut: int = 0  # where the text of an earlier call ends, after which the answer was continued

    def is_over_before(self, event: Lasting | NativeForm) -> bool:
        """Return whether the event is of the next call."""
        if isinstance(event, Token):
            return bool(self.calls or self.native_form)
        if isinstance(event, ToolCalled):
            return self.has_results or bool(self.native_form)
        return isinstance(event, Continued) and bool(self.calls or self.native_form)

    def take(self, event: Lasting | NativeForm, extras: Mapping[str, str]) -> None:
        if isinstance(event, Token):
            self.text += event.content
        elif isinstance(event, Continued):
            self.cut = len(self.text)
        elif isinstance(event, NativeForm):
            self.native_form = event.content
        elif isinstance(event, ToolResult):
            self.has_results = True
        elif isinstance(event, ToolCalled):
            self.calls[event.id] = CalledTool(event.id, event.name, "", extras.get(event.id, ""))
        elif isinstance(event, ToolArguments) and event.id in self.calls:
            call = self.calls[event.id]
            self.calls[event.id] = replace(call, arguments=call.arguments + event.delta)

    def make_turns(self, results: dict[str, list[ToolCall]]) -> list[Turn]:
        """Return the step as turns, with a result for each call, which providers require."""
        if not self.text and not self.calls:
            return []
        earlier, text = (self.text[: self.cut], self.text[self.cut :]) if self.native_form else ("", self.text)
        output = [Turn("assistant", earlier)] if earlier else []
        output.append(Turn("assistant", text, tuple(self.calls.values()), native_form=self.native_form))
        return [*output, *(self._make_result(call, results.get(call.id, [])) for call in self.calls.values())]

    def _make_result(self, call: CalledTool, results: list[ToolCall]) -> Turn:
        if not results or results[0].finished_at is None:
            return Turn("tool", "There is no result: the answer ended first.", call_id=call.id, ok=False)
        result = results[0]
        return Turn("tool", result.result, call_id=call.id, ok=result.ok)


def build_prompt(
    question: Message, model: str, answered: Sequence[Turn] = (), response_schema: dict[str, Any] | None = None
) -> tuple[Prompt, int]:
    """Return the prompt of a question, and how many messages were left out.

    The prompt has as much of the conversation as the model can read, the turns of the answer so far (`answered`), and
    the tools that the model is offered: none for an answer by a schema.
    """
    conversation = question.conversation
    system = conversation.system_prompt or settings.CHAT_SYSTEM_PROMPT
    prompt = Prompt(
        model.partition(":")[2],
        (Turn("system", system),) if system else (),
        max_output_tokens=conversation.max_tokens or settings.CHAT_MAX_TOKENS.get(model),
        temperature=conversation.temperature,
        cache_key=str(question.conversation_id),
        has_own_system=bool(conversation.system_prompt),
        is_followed=True,
        effort=find_wished_effort(conversation, model),
        tools=offer_tools(model) if response_schema is None else (),
        response_schema=response_schema,
    )
    prompt = refusals.apply_lessons(prompt, model)
    window = find_context_window(model, settings.CHAT_CONTEXT_WINDOWS, prompt.capabilities.context_window)
    room = None if window is None else count_free_tokens(prompt, window)
    messages, unread, last_model = _load_branch(question, room, prompt.model)
    if last_model not in ("", model) and is_retired(last_model):
        retired = Adaptation("model_retired", name=last_model.partition(":")[2])
        prompt = replace(prompt, adaptations=(*prompt.adaptations, retired))
    prompt, omitted = fit_into_window(replace(prompt, turns=(*prompt.turns, *messages, *answered)), window, unread)
    return prompt, unread + omitted
