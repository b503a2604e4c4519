"""`prefworks up` in a folder of its own, and small requests for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from flows.services import free_port

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SAVE_BLOCK = """
import sys
from blocks.fireworks import FireworksPlatform
url, name, price_book = sys.argv[1:]
FireworksPlatform(base_url=url, account="local", price_book=price_book).save(name, overwrite=True)
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


class _Patient(httpx.HTTPTransport):
    """Asks again on 503, as Prefect's own client does: SQLite was locked, and nothing was done."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(10):
            response = super().handle_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            response.close()
            time.sleep(1)
        return response


class Prefect:
    """What `prefworks up` started, seen through Prefect's REST API."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.since = datetime.now(UTC)
        self.http = httpx.Client(base_url=f"{self.root}/api", timeout=30, transport=_Patient())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def deployment(self, name: str) -> dict[str, Any]:
        return self.http.get(f"/deployments/name/preference-learning/{name}").raise_for_status().json()

    def latest_run(self) -> dict[str, Any]:
        """The newest run of the flow that this test made and that is due; one without a state where there is none."""
        soon = datetime.now(UTC) + timedelta(minutes=1)  # schedules make theirs long before
        asked = {"after_": self.since.isoformat(), "before_": soon.isoformat()}
        due = {"flow_runs": {"expected_start_time": asked}}
        ours = {"flows": {"name": {"any_": ["preference-learning"]}}}
        found = self.post("/flow_runs/filter", {**ours, **due, "sort": "EXPECTED_START_TIME_DESC", "limit": 1})
        return found[0] if found else {"state": {"type": None, "state_details": None}}

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 600) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while not condition(run := self.latest_run()):
            assert run["state"]["type"] not in ("FAILED", "CRASHED"), run["state"]["message"]
            assert time.monotonic() < deadline, run["state"]
            time.sleep(0.5)
        return run

    def wait_at(self, gate: str, *, but: str = "") -> dict[str, Any]:
        """The newest run once it waits at this gate, under another key than `but`."""

        def waits(run: dict[str, Any]) -> bool:
            key = (run["state"]["state_details"] or {}).get("pause_key") or ""
            return run["state"]["type"] == "PAUSED" and key.startswith(gate) and key != but

        return self.wait_for(waits)


@pytest.fixture
def prefect_up(services: tuple[Prefect, dict[str, str]]) -> tuple[Prefect, dict[str, str]]:
    """Prefect's server, which other tests have used before, and the environment of its commands."""
    prefect, environment = services
    prefect.since = datetime.now(UTC)
    return prefect, environment


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prefect, dict[str, str]]]:
    """`prefworks up` in a folder of its own, on free ports."""
    port = free_port(0)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
        "PREFWORKS_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_PORT": str(port),
        "LOCAL_SERVER_PORT": str(free_port(0)),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",  # a minute unless told
    }
    command = [sys.executable, "-m", "flows.cli"]
    try:
        subprocess.run([*command, "up"], cwd=ROOT, env=environment, check=True)
        prefect = Prefect(port)
        with prefect.http:
            yield prefect, environment
    finally:
        subprocess.run([*command, "down"], cwd=ROOT, env=environment, check=True)


@pytest.fixture
def save_block(prefect_up: tuple[Prefect, dict[str, str]]) -> Callable[..., None]:
    """save_block(name, url, price_book="local"): a platform, without a price unless told, on that Prefect server."""
    prefect, environment = prefect_up
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api"}

    def save(name: str, url: str, price_book: str = "local") -> None:
        subprocess.run([sys.executable, "-c", SAVE_BLOCK, url, name, price_book], cwd=ROOT, env=served, check=True)

    return save


@pytest.fixture
def shell(prefect_up: tuple[Prefect, dict[str, str]]) -> Callable[..., tuple[int, str]]:
    """shell("get", ID) is what `prefworks session get ID` ends with and says."""
    _, environment = prefect_up

    def run(*args: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "flows.cli", "session", *args]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def pairs_and_judge(tmp_path: Path) -> dict[str, str]:
    """A small request's files, for the scripted children: tuned answers end in /tuned."""
    words = (
        "hammer river moon bread violin castle tiger cloud bridge pencil lamp forest ocean clock garden rocket".split()
    )
    words += "camel candle mirror desert wheel ladder train ship bottle paper stone spider window carpet".split()

    def rows(prompts: list[str]) -> str:
        return "".join(
            json.dumps(
                {
                    "input": {"messages": [{"role": "user", "content": prompt}]},
                    "preferred_output": [{"role": "assistant", "content": f"Short on {prompt}"}],
                    "non_preferred_output": [{"role": "assistant", "content": f"A long answer about {prompt}"}],
                }
            )
            + "\n"
            for prompt in prompts
        )

    prompts = [f"Say what a {word} is for" for word in words]
    (tmp_path / "train.jsonl").write_text(rows(prompts[:15]))
    (tmp_path / "held.jsonl").write_text(rows(prompts[15:]))
    (tmp_path / "judge.py").write_text(
        "def evaluate(messages, **kwargs):\n"
        "    answer = messages[-1]['content']\n"
        "    return {'score': 0.9 if answer.endswith('/tuned') else 0.3 if answer.startswith('Short') else 0.2}\n"
    )
    (tmp_path / "requirements.txt").touch()
    return {
        "dataset": str(tmp_path / "train.jsonl"),
        "held_out": str(tmp_path / "held.jsonl"),
        "evaluator": str(tmp_path / "judge.py") + "::evaluate",
    }


@pytest.fixture
def page() -> Iterator[Page]:
    assert CHROMIUM, "there is no chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
