"""What today's models of OpenAI do not take, in the words of api.openai.com. Models of other names take everything.

The sentences are those that users of the API quote in public bug reports; the efforts are those of each model's page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from tests.provider_server.wire import Json, Refusal

_WORDS = ("low", "medium", "high", "xhigh", "max")


class Contract(NamedTuple):
    """`efforts` are what it takes, none where it does not reason; `default` is the effort when a request names none.
    `has_chat_tools`: Chat Completions take function tools with any effort. `pays_for_writing`: since GPT-5.6.
    """

    efforts: tuple[str, ...] = ()
    default: str = ""
    has_chat_tools: bool = False
    pays_for_writing: bool = False

    def find_effort(self, asked: object) -> str:
        """Return the effort that holds for a request that asks for this one."""
        return asked if isinstance(asked, str) else self.default


_CONTRACTS = (
    (r"gpt-6(\.2)?-astra|gpt-6\.[12]-sol", Contract(_WORDS, "medium", pays_for_writing=True)),
    (r"gpt-6(\.1)?-(sol|terra|luna)|gpt-5\.6-\w+", Contract(("none", *_WORDS), "medium", pays_for_writing=True)),
    (r"gpt-5\.5", Contract(("none", *_WORDS[:4]), "medium")),
    (r"gpt-5\.4(-mini|-nano)?", Contract(("none", *_WORDS[:4]), "none")),
    (r"gpt-5\.2", Contract(("none", *_WORDS[:4]), "none", has_chat_tools=True)),
    (r"gpt-5\.1", Contract(("none", *_WORDS[:3]), "none", has_chat_tools=True)),
    (r"gpt-5(-mini|-nano)?", Contract(("minimal", *_WORDS[:3]), "medium", has_chat_tools=True)),
    (r"o3|o4-mini", Contract(_WORDS[:3], "medium", has_chat_tools=True)),
    (r"(gpt-4\.1|gpt-4o)(-mini|-nano)?", Contract(has_chat_tools=True)),
)


def find_contract(model: str) -> Contract | None:
    """Return the contract of a model; None for a name that OpenAI does not serve."""
    return next((contract for names, contract in _CONTRACTS if re.fullmatch(names, model)), None)


def find_response_complaint(request: Json) -> Refusal | None:
    """Return what the Responses API refuses in the request."""
    contract = find_contract(request["model"])
    return None if contract is None else next(_list_response_complaints(request, contract), None)


def find_chat_complaint(request: Json) -> Refusal | None:
    """Return what Chat Completions refuse in the request."""
    contract = find_contract(request["model"])
    return None if contract is None else next(_list_chat_complaints(request, contract), None)


def _list_response_complaints(request: Json, contract: Contract) -> Iterator[Refusal]:
    yield from _find_unknown(request, response_create_params.ResponseCreateParamsStreaming)
    reasoning = request.get("reasoning") or {}
    yield from _list_effort_complaints(request["model"], contract, reasoning.get("effort"), "reasoning.effort")
    if reasoning.get("summary") and not contract.efforts:
        yield _refuse_unsupported("reasoning.summary")
    if contract.efforts and contract.find_effort(reasoning.get("effort")) != "none":
        yield from (_refuse_unsupported(name) for name in ("temperature", "top_p") if name in request)
    if "reasoning.encrypted_content" in (request.get("include") or ()) and not contract.efforts:
        yield _make_refusal("Encrypted content is not supported with this model.", "include")
    limit = request.get("max_output_tokens")
    if limit is not None and limit < 16:
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {limit}"
        yield _make_refusal(f"{message} instead.", "max_output_tokens", "integer_below_min_value")
    for place, tool in enumerate(request.get("tools") or ()):
        if "name" not in tool:
            yield _make_refusal(f"Missing required parameter: 'tools[{place}].name'.", f"tools[{place}].name")
        elif tool.get("strict") and (complaint := _find_strict_complaint(tool["parameters"])):
            yield _make_refusal(
                f"Invalid schema for function '{tool['name']}': {complaint}", f"tools[{place}].parameters"
            )
    text_format = (request.get("text") or {}).get("format") or {}
    if text_format.get("strict") and (complaint := _find_strict_complaint(text_format["schema"])):
        yield _make_refusal(f"Invalid schema for response_format 'answer': {complaint}", "text.format.schema")


def _list_chat_complaints(request: Json, contract: Contract) -> Iterator[Refusal]:
    yield from _find_unknown(request, completion_create_params.CompletionCreateParamsStreaming)
    asked = request.get("reasoning_effort")
    yield from _list_effort_complaints(request["model"], contract, asked, "reasoning_effort")
    effort = contract.find_effort(asked)
    if request.get("tools") and not contract.has_chat_tools and effort != "none":
        message = f"Function tools with reasoning_effort are not supported for {request['model']} in "
        message += "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'."
        yield _make_refusal(message, "reasoning_effort")
    if contract.efforts and "max_tokens" in request:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. "
        yield _make_refusal(f"{message}Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter")
    if contract.efforts and effort != "none" and request.get("temperature", 1) != 1:
        message = f"Unsupported value: 'temperature' does not support {request['temperature']} with this model. "
        yield _make_refusal(f"{message}Only the default (1) value is supported.", "temperature", "unsupported_value")
    schema = (request.get("response_format") or {}).get("json_schema") or {}
    if schema.get("strict") and (complaint := _find_strict_complaint(schema["schema"])):
        yield _make_refusal(f"Invalid schema for response_format 'answer': {complaint}", "response_format")


def _find_unknown(request: Json, params: Any) -> Iterator[Refusal]:
    known = params.__annotations__.keys() | {name for base in params.__orig_bases__ for name in base.__annotations__}
    for name in request.keys() - known:
        yield _make_refusal(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _list_effort_complaints(model: str, contract: Contract, asked: object, param: str) -> Iterator[Refusal]:
    if asked is None:
        return
    if not contract.efforts:
        yield _refuse_unsupported(param)
    elif asked not in contract.efforts:
        words = ", ".join(f"'{word}'" for word in contract.efforts)
        message = f"Unsupported value: '{asked}' is not supported with the '{model}' model. Supported values are: "
        yield _make_refusal(f"{message}{words}.", param, "unsupported_value")


def _find_strict_complaint(schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a schema that is sent with `strict`; empty when nothing is."""
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "In context=(), 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            return "In context=(), 'required' is required to be supplied and to be an array including every key in "
    inner = [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", ())]
    return next((found for part in inner if isinstance(part, dict) and (found := _find_strict_complaint(part))), "")


def _refuse_unsupported(param: str) -> Refusal:
    message = f"Unsupported parameter: '{param}' is not supported with this model."
    return _make_refusal(message, param, "unsupported_parameter")


def _make_refusal(message: str, param: str, code: str | None = None) -> Refusal:
    return Refusal(400, "invalid_request_error", message, code, param)
