"""Scheduled runs that nobody watches: one within its limit goes through, one above it waits and somebody is told."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.workspace import Workspace
from tests.e2e.browsing import cancel, picture
from tests.e2e.conftest import ROOT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


EXAMPLE = ROOT / "examples" / "automations" / "waiting.yaml"
PLACEHOLDER = "00000000-0000-0000-0000-000000000000"


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps the JSON of every POST that says that it is JSON."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] == "application/json":
            self.server.got.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receive() -> Iterator[Callable[[], Receiver]]:
    """receive(): a receiver on 127.0.0.1, stopped at the end."""
    started: list[Receiver] = []

    def start() -> Receiver:
        started.append(Receiver())
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return started[-1]

    yield start
    for receiver in started:
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture
def told(prefect_up, receive) -> Iterator[list[dict[str, Any]]]:
    """What `prefworks notify webhook --ends` has sent so far."""
    _, environment = prefect_up
    receiver = receive()
    served = {**environment, "PREFWORKS_NOTIFY_URL": f"http://127.0.0.1:{receiver.server_port}/waits"}
    command = [sys.executable, "-m", "flows.cli", "notify"]
    subprocess.run([*command, "webhook", "--ends"], cwd=ROOT, env=served, check=True)
    yield receiver.got
    subprocess.run([*command, "remove", "webhook"], cwd=ROOT, env=served, check=True)


@pytest.fixture
def create_example(prefect_up, receive, tmp_path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """create_example(): the example's automation, and what it will have sent; its block is made as the UI makes it."""
    prefect, environment = prefect_up
    name = yaml.safe_load(EXAMPLE.read_text())["name"]
    made: list[str] = []

    def create() -> list[dict[str, Any]]:
        receiver = receive()
        kind = prefect.http.get("/block_types/slug/webhook").raise_for_status().json()
        [schema] = prefect.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
        data = {
            "url": f"http://127.0.0.1:{receiver.server_port}/example",
            "headers": {"Content-Type": "application/json"},
        }
        ids = {"block_type_id": kind["id"], "block_schema_id": schema["id"]}
        block = prefect.post("/block_documents/", {"name": "example", "data": data, **ids})
        made.append(f"/block_documents/{block['id']}")
        text = EXAMPLE.read_text()
        assert text.count(PLACEHOLDER) == 1
        (tmp_path / "waiting.yaml").write_text(text.replace(PLACEHOLDER, block["id"]))
        served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api"}
        command = [sys.executable, "-m", "prefect", "automation", "create"]
        subprocess.run([*command, "--from-file", str(tmp_path / "waiting.yaml")], cwd=ROOT, env=served, check=True)
        made.append(f"/automations/{automation_id(prefect, name)}")
        return receiver.got

    yield create
    for path in reversed(made):
        prefect.http.delete(path).raise_for_status()


def automation_id(prefect: Any, name: str) -> str:
    [found] = prefect.post("/automations/filter", {"automations": {"name": {"any_": [name]}}})
    return str(found["id"])


@pytest.fixture
def schedule(prefect_up) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """schedule(slug, request): a schedule of the weekly deployment whose first run is due in a moment, switched off
    once it runs; that run. Removed at the end."""
    prefect, _ = prefect_up
    weekly = prefect.deployment("preference-learning-weekly")
    paths: list[str] = []

    def start(slug: str, request: dict[str, Any]) -> dict[str, Any]:
        # often enough for a scheduler that is busy and lets the first time pass
        made = {"schedule": {"interval": 45}, "active": True, "slug": slug, "parameters": {"request": request}}
        [kept] = prefect.post(f"/deployments/{weekly['id']}/schedules", [made])
        paths.append(f"/deployments/{weekly['id']}/schedules/{kept['id']}")
        due = {"deployments": {"id": {"any_": [weekly["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}

        def first() -> list[dict[str, Any]]:
            runs = prefect.post("/flow_runs/filter", due)
            return [run for run in runs if run["parameters"].get("request") == request]

        wait_until(lambda: any(run["state"]["type"] != "SCHEDULED" for run in first()))
        prefect.http.patch(paths[-1], json={"active": False}).raise_for_status()
        return next(run for run in first() if run["state"]["type"] != "SCHEDULED")

    yield start
    for path in paths:
        prefect.http.delete(path).raise_for_status()


def test_within_its_limit_a_scheduled_run_goes_through_and_above_it_one_waits(
    prefect_up, local_server, page, pairs_and_judge, save_block, price_book, told, create_example, schedule
):
    prefect, environment = prefect_up
    save_block("priced", local_server.url, price_book)
    request = {
        **pairs_and_judge,
        "base_models": ["tiny"],
        "platform": "priced",
        "sweep": {"learning_rates": [1e-4], "betas": [0.1], "max_context_length": 512},
        "auto_promote": "clear_winner",
    }

    def read(run: dict[str, Any]) -> dict[str, Any]:
        return prefect.http.get(f"/flow_runs/{run['id']}").raise_for_status().json()

    cheap = schedule("cheap", {**request, "auto_approve_up_to_usd": 500})
    wait_until(lambda: read(cheap)["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "PAUSED"))
    assert read(cheap)["state"]["name"] == "Completed", read(cheap)["state"]["message"]
    session = read(cheap)["name"].split()[0]
    report = Workspace(session, Path(environment["PREFWORKS_HOME"])).path("final_report.md").read_text()
    assert report.startswith("# Promoted t1: ")
    assert "plan gate: approve by policy: auto_approve_up_to_usd 500.00" in report
    assert "promotion gate: approve by policy: auto_promote clear_winner" in report

    dear = schedule("dear", {**request, "auto_approve_up_to_usd": 0.01})
    wait_until(lambda: read(dear)["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "PAUSED"))
    assert read(dear)["state"]["type"] == "PAUSED", read(dear)["state"]["message"]

    waiting = read(dear)["name"].split()[0]
    wait_until(lambda: [message["facts"]["session"] for message in told] == [session, waiting])
    assert [message["event"] for message in told] == ["prefworks.run.ended", "prefworks.gate.waiting"]
    assert told[0]["facts"]["outcome"] == "promoted"
    assert told[1]["facts"]["gate"] == "plan"
    assert told[1]["facts"]["asked_usd"] > 0.01
    assert told[1]["url"].endswith(f"/runs/flow-run/{dear['id']}")

    # the example's automation, alone: Prefect's webhooks share one transport, and two at a moment break each other
    ours = automation_id(prefect, "prefworks-notify-webhook")
    prefect.http.patch(f"/automations/{ours}", json={"enabled": False}).raise_for_status()
    told_by_example = create_example()
    change = ["session", "update", waiting, "--gate", "plan", "--instruction", "Use 2 epochs."]
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api"}
    subprocess.run([sys.executable, "-m", "flows.cli", *change], cwd=ROOT, env=served, check=True)
    wait_until(lambda: told_by_example != [], 120)
    assert told_by_example == [{"text": told[1]["facts"]["text"], "url": told[1]["url"]}]

    page.goto(f"{prefect.root}/v2/runs/flow-run/{cheap['id']}")
    page.get_by_text("Completed").first.wait_for()
    picture(page, "unattended")
    page.goto(f"{prefect.root}/v2/automations")
    page.get_by_text("prefworks-notify-webhook").first.wait_for()
    picture(page, "automations")
    weekly = prefect.deployment("preference-learning-weekly")
    page.goto(f"{prefect.root}/v2/deployments/deployment/{weekly['id']}")
    page.get_by_text("preference-learning-weekly").first.wait_for()
    picture(page, "schedules")
    cancel(page, prefect, dear)
    wait_until(lambda: read(dear)["state"]["type"] == "CANCELLED")
