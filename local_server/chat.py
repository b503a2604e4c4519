"""A chat request as it comes in, as the generation child is told it, and its answer as it goes out.

What would change the answer and is not done here is refused; what would not (user, metadata, cache keys) is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from local_server.addressing import Target
from local_server.errors import invalid

DEFAULT_MAX_TOKENS = 2048
# what would change an answer and is not done here, with the value that changes nothing
NOT_DONE = {
    "tools": [], "functions": [], "logit_bias": {}, "frequency_penalty": 0, "presence_penalty": 0,
    "repetition_penalty": 1, "min_p": 0, "typical_p": 1, "echo": False, "prompt_truncate_len": 0,
}  # fmt: skip


class ChatRequest(BaseModel):
    """The body of /chat/completions."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=100)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    logprobs: bool | Annotated[int, Field(ge=0, le=5)] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=5)
    response_format: dict[str, Any] | None = None
    return_token_ids: bool = False
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    @field_validator("messages")
    @classmethod
    def _plain(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [_plain_message(message, index) for index, message in enumerate(messages)]

    def refuse_what_is_not_done(self) -> None:
        extra = self.model_extra or {}
        if found := [key for key, neutral in NOT_DONE.items() if extra.get(key) not in (None, neutral)]:
            raise invalid(f"{', '.join(found)}: not supported by the local server; leave it out")


def _plain_message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """role and text; a list of text parts becomes their text."""
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise ValueError(f"messages[{index}].role must be system, user, assistant or tool, found {role!r}")
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise ValueError(f"messages[{index}].content has parts other than text, which no model here can read")
        content = "".join(str(part.get("text", "")) for part in content)
    if content is not None and not isinstance(content, str):
        raise ValueError(f"messages[{index}].content must be text or a list of text parts")
    return {"role": "system" if role == "developer" else role, "content": content or ""}


def child_request(chat: ChatRequest, target: Target) -> dict[str, Any]:
    stop = [chat.stop] if isinstance(chat.stop, str) else chat.stop
    return {
        "base_model": str(target.base_folder),
        "adapter": str(target.adapter) if target.adapter else None,
        "messages": chat.messages,
        "max_tokens": chat.max_tokens or chat.max_completion_tokens or DEFAULT_MAX_TOKENS,
        "temperature": 1.0 if chat.temperature is None else chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k or None,
        "n": chat.n,
        "seed": chat.seed,
        "stop": [text for text in stop or [] if text] or None,
        "logprobs": _logprobs(chat),
        "json_schema": json_schema(chat.response_format),
        "stream": chat.stream,
    }


def _logprobs(chat: ChatRequest) -> int | None:
    """How many alternatives a token is to have beside itself; None: no log-probabilities at all."""
    if chat.logprobs is None or chat.logprobs is False:
        return None
    return chat.top_logprobs or (0 if chat.logprobs is True else chat.logprobs)


def json_schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema that the answer must satisfy; None: any text. Raises INVALID_ARGUMENT."""
    kind = (response_format or {}).get("type", "text")
    if response_format is None or kind == "text":
        return None
    if kind == "json_object":
        schema = response_format.get("schema") or {"type": "object"}
    elif kind == "json_schema":
        stated = response_format.get("json_schema")
        schema = stated.get("schema") if isinstance(stated, dict) else None
    else:
        raise invalid(f"response_format.type {kind!r} is not supported here; use json_schema, json_object or text")
    if not isinstance(schema, dict):
        raise invalid("response_format.json_schema.schema must be a JSON schema")
    return schema


def completion(id: str, created: int, chat: ChatRequest, answer: dict[str, Any]) -> dict[str, Any]:
    """The body of a whole answer."""
    choices = []
    for choice in answer["choices"]:
        shown = {
            "index": choice["index"],
            "message": {"role": "assistant", "content": choice["text"]},
            "finish_reason": choice["finish_reason"],
            "logprobs": choice.get("logprobs"),
        }
        if chat.return_token_ids:
            shown["token_ids"] = choice.get("token_ids")
        choices.append(shown)
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": chat.model,
        "choices": choices,
        "usage": answer["usage"],
    }


def chunk(id: str, created: int, model: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One server-sent event of a streamed answer."""
    head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
    return {**head, "choices": choices, **more}
