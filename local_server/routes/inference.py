"""Chat completions, whole and streamed, under both prefixes that clients use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local_server import errors
from local_server.addressing import DEPLOYED_MODELS, DEPLOYMENTS, Target
from local_server.chat import ChatRequest, child_request, chunk, completion
from local_server.errors import ApiError
from local_server.routes.common import read_json, services
from local_server.services import Services

PREFIXES = ("/inference/v1", "/v1")  # the SDK drops /inference where its base URL is overridden
T = TypeVar("T")


async def chat_completions(request: Request) -> Response:
    found, began = services(request), time.perf_counter()
    try:
        chat = ChatRequest.model_validate(await read_json(request))
    except ValidationError as error:
        raise errors.from_validation(error, "chat") from None
    chat.refuse_what_is_not_done()
    target = found.serving.resolve(chat.model)
    if found.generator.in_flight >= found.settings.max_waiting_requests:
        raise ApiError("RESOURCE_EXHAUSTED", "too many requests are waiting; try again", headers={"retry-after": "1"})
    id, created = f"chatcmpl-{uuid.uuid4().hex}", int(found.settings.clock())
    message = child_request(chat, target)
    if chat.stream:
        events = _events(found, target, chat, id, created, message)
        first = await anext(events)  # so that an error still has its own status
        return StreamingResponse(_joined(first, events), media_type="text/event-stream", headers=_headers(id))
    answer = await _unless_gone(request, found.generator.answer(message))
    found.ledger.inference("INFERENCE", target.deployment, target.model, answer["usage"])
    usage, spent = answer["usage"], time.perf_counter() - began
    headers = _headers(id) | {
        "fireworks-prompt-tokens": str(usage["prompt_tokens"]),
        "fireworks-cached-prompt-tokens": str(_cached(usage)),
        "fireworks-server-processing-time": f"{spent:.3f}",
    }
    return JSONResponse(completion(id, created, chat, answer), headers=headers)


def _headers(id: str) -> dict[str, str]:
    return {"x-request-id": id.removeprefix("chatcmpl-")}


def _cached(usage: dict[str, Any]) -> int:
    return int((usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0))


async def _events(
    found: Services, target: Target, chat: ChatRequest, id: str, created: int, message: dict[str, Any]
) -> AsyncIterator[str]:
    """Server-sent events: a role, the deltas, the finish reasons with usage, [DONE]."""
    answers = found.generator.stream(message)
    async with contextlib.aclosing(answers):  # type: ignore[type-var]
        started = False
        async for event in answers:
            if not started:
                started = True
                roles = [_delta(index, {"role": "assistant", "content": ""}) for index in range(chat.n)]
                yield _event(chunk(id, created, chat.model, roles))
            if "choices" not in event:
                delta = _delta(event["index"], {"content": event["delta"]})
                yield _event(chunk(id, created, chat.model, [delta]))
                continue
            found.ledger.inference("INFERENCE", target.deployment, target.model, event["usage"])
            ends = [_delta(choice["index"], {}, choice) for choice in event["choices"]]
            yield _event(chunk(id, created, chat.model, ends, usage=event["usage"]))
    yield "data: [DONE]\n\n"


def _delta(index: int, delta: dict[str, str], choice: dict[str, Any] | None = None) -> dict[str, Any]:
    end = choice or {}
    return {
        "index": index,
        "delta": delta,
        "finish_reason": end.get("finish_reason"),
        "logprobs": end.get("logprobs"),
    }


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


async def _joined(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    try:
        async for event in rest:
            yield event
    except ApiError as error:  # the status is out already: the error goes as an event
        yield _event(errors.body(error, inference=True))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; it is cancelled when the client goes away, so that nothing is generated for nobody."""
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError("CANCELLED", "the client went away")
        return task.result()
    finally:
        for pending in (task, watch):
            pending.cancel()
        await asyncio.wait([task, watch])


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def list_models(request: Request) -> Response:
    """What can be asked now: the `model` strings that have a deployment."""
    found = services(request)
    names = [record.name for record in found.store.all(DEPLOYMENTS)]
    names += [record.body["baseModel"] for record in found.store.all(DEPLOYMENTS)
              if found.models.adapter_folder(record.body["baseModel"])]  # fmt: skip
    names += [f"{record.body['model']}#{record.body['deployment']}" for record in found.store.all(DEPLOYED_MODELS)]
    models = [{"id": name, "object": "model", "owned_by": "local", "created": 0} for name in names]
    return JSONResponse({"object": "list", "data": models})


ROUTES = [
    *(Route(f"{prefix}/chat/completions", chat_completions, methods=["POST"]) for prefix in PREFIXES),
    *(Route(f"{prefix}/models", list_models, methods=["GET"]) for prefix in PREFIXES),
]
