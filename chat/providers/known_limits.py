"""The ways in which a prompt is asked otherwise from the start, because its model is known to refuse the usual one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chat.providers.base import Adaptation, AdaptationKind, Prompt

# What a refusal that was answered in this way says about the model.
_LEARNT: dict[AdaptationKind, dict[str, Any]] = {
    "no_tools": {"tools": False},
    "no_tool_choice": {"forced_tools": False},
    "no_temperature": {"sampling": False},
    "adaptive_thinking": {"thinking": "adaptive"},
    "no_thinking": {"thinking": "none"},
    "effort_none": {"tools_need_no_effort": True},
    "json_object": {"schema": "prompt"},
    "schema_in_prompt": {"schema": "prompt"},
    "output_format": {"schema": "native"},
    "no_prefill": {"prefill": False},
    "no_caching": {"caching": "none"},
    "responses_api": {"api": "responses"},
    "chat_completions": {"api": "chat"},
}


def find_learnt_fields(adaptations: Sequence[Adaptation]) -> dict[str, Any]:
    """Return the fields of `Capabilities` that refusals have taught, from the ways in which they were answered."""
    known: dict[str, Any] = {}
    for adaptation in adaptations:
        known |= _LEARNT.get(adaptation.kind, {})
        if adaptation.kind == "tokens_at_most" and adaptation.value:
            known["longest_output"] = int(adaptation.value)
    if any(adaptation.kind == "chat_completions" for adaptation in adaptations):
        known["api"] = "chat"  # in whichever order they were learnt: the server has no Responses API
    return known


def adapt_to_limits(prompt: Prompt) -> Prompt:
    """Return the prompt with an adaptation for each wish that its model is known to refuse.

    So it is not asked for it, and readers are told. What the prompt may be given later, such as tools, counts as a wish
    too.
    """
    takes = prompt.capabilities
    kinds: list[AdaptationKind] = []
    is_without_reasoning = takes.api == "chat" and takes.tools_need_no_effort  # of answers with tools
    if is_without_reasoning and "none" in takes.efforts:
        kinds.append("effort_none")
    if not takes.tools or (is_without_reasoning and "none" not in takes.efforts):
        kinds.append("no_tools")
    if not takes.forced_tools:
        kinds.append("no_tool_choice")
    if not takes.takes_sampling(prompt.effort):
        kinds.append("no_temperature")
    if takes.schema == "prompt":
        kinds.append("schema_in_prompt")
    if prompt.effort and not takes.efforts:
        kinds.append("no_effort")
    known = [Adaptation(kind) for kind in kinds if prompt.find_adaptation(kind) is None]
    if takes.efforts and (effort := takes.choose_effort(prompt.effort)) != prompt.effort:
        known.append(Adaptation("other_effort", name=effort or takes.default_effort))
    limit, most = prompt.max_output_tokens, takes.longest_output
    if limit is not None and most is not None and limit > most and prompt.find_adaptation("tokens_at_most") is None:
        known.append(Adaptation("tokens_at_most", most))
    return replace(prompt, adaptations=(*prompt.adaptations, *known)) if known else prompt
