"""Prefect's UI in a real browser: the run form, both gates, the artifacts, as a user meets them.

Needs Chromium on the machine (Debian: apt-get install chromium). PREFWORKS_SCREENSHOTS names a folder to keep pictures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, sync_playwright

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
FireworksPlatform(base_url=sys.argv[1], account="local", price_book="local").save("scripted", overwrite=True)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine: apt-get install chromium"),
]


class Prefect:
    """What `prefworks up` started, seen through Prefect's REST API."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=f"{self.root}/api", timeout=30)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def latest_run(self) -> dict[str, Any]:
        """The newest flow run; one without a state where there is none yet."""
        found = self.post("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
        return found[0] if found else {"state": {"type": None, "state_details": None}}

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while not condition(run := self.latest_run()):
            assert run["state"]["type"] not in ("FAILED", "CRASHED"), run["state"]["message"]
            assert time.monotonic() < deadline, run["state"]
            time.sleep(0.5)
        return run

    def wait_at(self, gate: str) -> dict[str, Any]:
        def waits(run: dict[str, Any]) -> bool:
            key = (run["state"]["state_details"] or {}).get("pause_key") or ""
            return run["state"]["type"] == "PAUSED" and key.startswith(gate)

        return self.wait_for(waits)


@pytest.fixture(scope="module")
def prefect_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prefect, dict[str, str]]]:
    """`prefworks up` in a folder of its own, on free ports."""
    port = free_port(0)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
        "PREFWORKS_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_PORT": str(port),
        "LOCAL_SERVER_PORT": str(free_port(0)),
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
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("PREFWORKS_SCREENSHOTS"):
        page.wait_for_timeout(1500)  # animations
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_resume_form(page: Page, prefect: Prefect, run: dict[str, Any]) -> Locator:
    """Resume stands in the three-dot menu at the top right of a paused run's page."""
    page.goto(f"{prefect.root}/v2/runs/flow-run/{run['id']}")
    page.locator("button:has(svg.lucide-ellipsis-vertical), button:has(svg.lucide-more-vertical)").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Select").first.wait_for()
    return form


def choose(page: Page, form: Locator, decision: str) -> None:
    form.get_by_role("button", name="Select").first.click()
    page.get_by_role("option", name=decision).click()


def test_a_run_is_started_approved_reviewed_and_read_in_the_browser(
    prefect_up, local_server, page, tmp_path, pairs_and_judge
):
    prefect, environment = prefect_up
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api"}
    subprocess.run([sys.executable, "-c", SAVE_BLOCK, local_server.url], cwd=ROOT, env=served, check=True)
    [deployment] = prefect.post("/deployments/filter", {})

    page.goto(f"{prefect.root}/v2/deployments/deployment/{deployment['id']}/run")
    for label, value in {
        "Dataset": pairs_and_judge["dataset"],
        "Base model": "tiny",
        "Evaluator": pairs_and_judge["evaluator"],
        "Held-out dataset": pairs_and_judge["held_out"],
        "Platform": "scripted",
        "Context length (tokens)": "512",
    }.items():
        page.get_by_label(label).first.fill(value)
    picture(page, "run-form")
    page.get_by_role("button", name="Submit").click()

    run = prefect.wait_at("plan")
    form = open_resume_form(page, prefect, run)
    assert "Plan: tune" in form.inner_text()
    assert "6 jobs" in form.inner_text()
    picture(page, "plan-gate")
    choose(page, form, "approve")
    form.get_by_role("button", name="Resume").click()

    run = prefect.wait_at("comparison")
    form = open_resume_form(page, prefect, run)
    assert "base: " in form.inner_text()
    picture(page, "comparison-gate")
    choose(page, form, "promote")
    form.get_by_label("Candidate").fill("t1")
    form.get_by_role("button", name="Resume").click()
    run = prefect.wait_for(lambda run: run["state"]["type"] == "COMPLETED")

    page.goto(f"{prefect.root}/v2/runs/flow-run/{run['id']}?tab=Artifacts")
    for key in ("dataset-profile", "plan", "comparison", "endpoint", "final-report"):
        page.get_by_text(key, exact=True).first.wait_for()
    picture(page, "artifacts")
    found = prefect.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    [report] = [a for a in found if a["key"] == "final-report"]
    page.goto(f"{prefect.root}/v2/artifacts/artifact/{report['id']}")
    shown = page.get_by_test_id("markdown-display").first  # the list of versions beside it says the same words
    shown.get_by_text("Promoted t1").first.wait_for()
    picture(page, "final-report")


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
        "    return {'score': 0.9 if messages[-1]['content'].endswith('/tuned') else 0.2}\n"
    )
    (tmp_path / "requirements.txt").touch()
    return {
        "dataset": str(tmp_path / "train.jsonl"),
        "held_out": str(tmp_path / "held.jsonl"),
        "evaluator": str(tmp_path / "judge.py") + "::evaluate",
    }
