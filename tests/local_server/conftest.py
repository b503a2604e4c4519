"""A small client over httpx, so that the server's own tests lean on nothing of ours."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

ACCOUNT = "/v1/accounts/local"
TINY = "accounts/fireworks/models/tiny"
ENDED = {"JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


class Api:
    """The API of one server; every answer but 2xx is a failure unless `fails` asks for it."""

    def __init__(self, url: str, key: str = "any") -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def __call__(self, method: str, path: str, **kwargs: Any) -> Any:
        response = self.http.request(method, path if path.startswith(("/", "http")) else f"{ACCOUNT}/{path}", **kwargs)
        assert response.is_success, response.text
        return response.json()

    def fails(self, status: int, method: str, path: str, **kwargs: Any) -> str:
        """The message of an error with that status."""
        response = self.http.request(method, path if path.startswith("/") else f"{ACCOUNT}/{path}", **kwargs)
        assert response.status_code == status, response.text
        body = response.json()
        return body["error"]["message"] if "error" in body else body["message"]

    def dataset(self, id: str, rows: list[dict]) -> str:
        self("POST", "datasets", json={"datasetId": id, "dataset": {"exampleCount": str(len(rows))}})
        self("POST", f"datasets/{id}:upload", files={"file": ("rows.jsonl", jsonl(rows))})
        return f"accounts/local/datasets/{id}"

    def job(self, id: str, dataset: str, **fields: Any) -> dict:
        body = {"dataset": dataset, "trainingConfig": {"baseModel": TINY, **fields.pop("trainingConfig", {})}, **fields}
        return self("POST", "dpoJobs", params={"dpoJobId": id}, json=body)

    def deployment(self, id: str, model: str = TINY, **fields: Any) -> dict:
        body = {"baseModel": model, "deploymentShape": "default", **fields}
        return self("POST", "deployments", params={"deploymentId": id}, json=body)

    def trained(self, id: str) -> str:
        """A tuned model, made by a job of that ID."""
        self.job(id, self.dataset(f"{id}-data", preference_rows("!")))
        assert self.ended(id)["state"] == "JOB_STATE_COMPLETED"
        return f"accounts/local/models/{id}"

    def ended(self, job: str) -> dict:
        return self.until(f"dpoJobs/{job}", lambda body: body["state"] in ENDED)

    def until(self, path: str, holds: Callable[[dict], bool], seconds: float = 120) -> dict:
        """Poll until it holds: a bound on a hang, not a measurement."""
        deadline = time.monotonic() + seconds
        while not holds(body := self("GET", path)):
            assert time.monotonic() < deadline, body
            time.sleep(0.02)
        return body

    def chat(self, model: str, text: str = "hello there", **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.http.post("/inference/v1/chat/completions", json=body)

    def served(self, model: str) -> None:
        """Wait until a model answers, as a client has to."""
        deadline = time.monotonic() + 120
        while (response := self.chat(model, max_tokens=1)).status_code in (503, 404):
            assert time.monotonic() < deadline, response.text
            time.sleep(0.02)
        assert response.status_code == 200, response.text


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def preference_rows(prompt: str = "Why?", n: int = 3) -> list[dict]:
    row = {
        "input": {"messages": [{"role": "user", "content": prompt}]},
        "preferred_output": [{"role": "assistant", "content": "Because."}],
        "non_preferred_output": [{"role": "assistant", "content": "Well, you see, it is a long story."}],
    }
    return [row] * n


@pytest.fixture
def connect() -> Iterator[Callable[..., Api]]:
    opened: list[Api] = []

    def make(url: str, key: str = "any") -> Api:
        opened.append(Api(url, key))
        return opened[-1]

    yield make
    for api in opened:
        api.http.close()


@pytest.fixture
def api(local_server, connect) -> Api:
    return connect(local_server.url)


@pytest.fixture
def rows_for() -> Callable[..., list[dict]]:
    """rows_for("!steps=3") orders the scripted trainer about."""
    return preference_rows


@pytest.fixture
def as_jsonl() -> Callable[[list[dict]], bytes]:
    return jsonl


@pytest.fixture
def run_in() -> Callable[..., Any]:
    """run_in(server, lambda services: services.serving.tick()): a coroutine in the server's own loop."""

    def run(server: Any, make: Callable[[Any], Any]) -> Any:
        async def work() -> Any:
            return await make(server.services)

        return asyncio.run_coroutine_threadsafe(work(), server.loop).result(120)

    return run
