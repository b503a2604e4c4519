"""A run at the terminal: started in a process of its own, followed line by line, its gates asked here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled
from rich.console import Console
from rich.markdown import Markdown

from blocks.workspace import FULL_MB, Workspace, space_trouble
from preference.comparison import Comparison
from preference.plan import Plan
from preference.settings import PreferenceRequest

POLL_S = 1.0
STOP_GRACE_S = 60.0  # to cancel jobs and take deployments down

Answer = dict[str, str]


class Interrupted(Exception):
    """Ctrl-C at the terminal: the run was cancelled."""


def run_and_follow(request: PreferenceRequest, console: Console, *, yes: bool) -> FlowRun:
    """Start the request as a new flow run, print what it says, answer its gates, and give the run when it ended.

    yes: approve and continue without asking, as where there is no terminal. Ctrl-C cancels the run.
    """
    from flows.preference_learning import preference_learning

    workspace = Workspace(request.session)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            preference_learning, parameters={"request": request.model_dump(mode="json")}, tags=["prefworks"]
        )
        console.print(f"Session {request.session}, flow run {run.name}: {run_url(run.id)}")
        with _process(run.id, workspace) as process:
            try:
                return _follow(client, run.id, process, workspace, console, yes=yes)
            except KeyboardInterrupt:
                console.print("Cancelling: its jobs are cancelled and its evaluation is taken down ...")
                _end(process)
                client.set_flow_run_state(run.id, Cancelled(message="Ctrl-C at the terminal"), force=True)
                raise Interrupted from None


def run_url(run_id: UUID) -> str:
    """The run's page in Prefect's UI."""
    api = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    return f"{api.removesuffix('/').removesuffix('/api')}/runs/flow-run/{run_id}"


@contextmanager
def _process(run_id: UUID, workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    with workspace.path("flow.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.execute", str(run_id)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us first
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _follow(
    client: SyncPrefectClient,
    run_id: UUID,
    process: subprocess.Popen[bytes],
    workspace: Workspace,
    console: Console,
    *,
    yes: bool,
) -> FlowRun:
    shown, answered = len(workspace.lines("events.jsonl")), set[str]()
    while True:
        ended = process.poll() is not None
        run = client.read_flow_run(run_id)
        events = workspace.lines("events.jsonl")
        for event in events[shown:]:
            console.print(f"[dim]{event['at'][11:19]}[/dim] {event['phase']}: {event['text']}", highlight=False)
        shown = len(events)
        if run.state and run.state.type == StateType.PAUSED:
            key = run.state.state_details.pause_key
            if key and key not in answered and _answer(client, run_id, key, workspace, console, yes=yes):
                answered.add(key)
        if ended or (run.state and run.state.is_final()):
            return _settled(client, run_id, process, console, workspace)
        time.sleep(POLL_S)


def _settled(
    client: SyncPrefectClient, run_id: UUID, process: subprocess.Popen[bytes], console: Console, workspace: Workspace
) -> FlowRun:
    """The run after its process ended; one that died without a word is said to have."""
    process.wait()
    run = client.read_flow_run(run_id)
    if run.state is None or not run.state.is_final():
        log = workspace.folder / "flow.log"
        if trouble := space_trouble(FULL_MB):
            console.print(trouble)
        console.print(f"The flow's process ended with code {process.returncode} before the run did; see {log}")
    return run


def _answer(
    client: SyncPrefectClient, run_id: UUID, key: str, workspace: Workspace, console: Console, *, yes: bool
) -> bool:
    """Show the gate's page, ask, and resume; False where the question is not there yet."""
    page = _page(client, run_id, key)
    if page is None:
        return False
    console.rule(f"{key.split('-')[0]} gate")
    console.print(Markdown(page))
    unknown = _unknown_prices(key, workspace) if yes else []
    if unknown and not sys.stdin.isatty():
        console.print(
            f"Unknown price: {', '.join(unknown)}. That is never approved unattended: answer in Prefect's UI."
        )
        return True  # the question stands, and whoever answers it there is followed from here
    answer = _unattended(key, workspace) if yes and not unknown else _ask(key, console)
    console.print(f"Answer: {json.dumps(answer)}")
    while True:
        try:
            response = client.resume_flow_run(run_id, run_input=answer)
        except PrefectHTTPStatusError as error:  # SQLite is busy now and then
            if error.response.status_code != 503:
                raise
        else:
            if response.status == SetStateStatus.ACCEPT:
                return True
            reason = getattr(response.details, "reason", "")
            if "schema not found" not in str(reason):
                console.print(f"Prefect did not take the answer: {response.status} {reason}")
                return False
        time.sleep(0.5)


def _page(client: SyncPrefectClient, run_id: UUID, key: str) -> str | None:
    try:
        return str(json.loads(client.read_flow_run_input(run_id, f"paused-{key}-description")))
    except PrefectHTTPStatusError as error:
        if error.response.status_code == 404:
            return None
        raise
    except json.JSONDecodeError:
        return client.read_flow_run_input(run_id, f"paused-{key}-description")


def _unknown_prices(key: str, workspace: Workspace) -> list[str]:
    """The lines of the plan at its gate that have no price."""
    plan = workspace.read("plan.json", Plan) if key.startswith("plan") else None
    return plan.unknown_prices if plan else []


def _unattended(key: str, workspace: Workspace) -> Answer:
    """Yes to the plan; yes to the proposed candidate if it was measured to be better than its base."""
    if key.startswith("plan"):
        return {"decision": "approve"}
    comparison = workspace.read("comparison.json", Comparison)
    shown = comparison.headline if comparison else None
    if shown is None or shown.difference.low is None or shown.difference.low <= 0:
        return {"decision": "continue"}
    return {"decision": "promote", "candidate": shown.candidate}


def _ask(key: str, console: Console) -> Answer:
    """The gate's questions, one line each."""
    choices = ["approve", "reject"] if key.startswith("plan") else ["continue", "promote", "stop"]
    while True:
        decision = console.input(f"{' / '.join(choices)}? ").strip().lower()
        found = [choice for choice in choices if decision and choice.startswith(decision)]
        if len(found) == 1:
            break
    answer = {"decision": found[0]}
    if found[0] == "promote":
        answer["candidate"] = console.input("Which candidate (such as t3)? ").strip()
    return answer


def read_request(path: Path, overrides: dict[str, Any] | None = None) -> PreferenceRequest:
    """A request file (YAML); paths in it are relative to its own folder."""
    import yaml

    data = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a request: a mapping of fields is wanted, such as `dataset: ...`")
    for key in ("dataset", "held_out", "evaluator"):
        value = data.get(key)
        if isinstance(value, str) and (path.parent / value.split("::")[0]).exists():
            data[key] = str(path.parent.resolve() / value)
    return PreferenceRequest.model_validate({**data, **(overrides or {})})
