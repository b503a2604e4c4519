"""A run at the terminal: started in a process of its own, followed line by line, its gates asked here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled
from rich.console import Console

from blocks.workspace import FULL_MB, Workspace, space_trouble
from flows.asking import Answer, ask, show
from flows.pages import remember
from flows.runs import AnswerRefused, NothingWaits, question_of, resume, run_url
from preference.plan import Plan
from preference.settings import PreferenceRequest
from preference.standings import Comparison

POLL_S = 1.0
STOP_GRACE_S = 60.0  # to cancel jobs and take deployments down


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
            preference_learning,
            parameters={"request": request.model_dump(mode="json", exclude_unset=True)},
            tags=["prefworks"],
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
            if key and key not in answered and _answer(client, run, workspace, console, yes=yes):
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


def _answer(client: SyncPrefectClient, run: FlowRun, workspace: Workspace, console: Console, *, yes: bool) -> bool:
    """Show the gate's page, ask, and resume; False where the question is not there yet."""
    question = question_of(client, run)
    if question is None:
        return False
    show(question, console)
    remember(workspace, question.key)
    doubt = _never_unattended(question.key, workspace) if yes else ""
    if doubt and not sys.stdin.isatty():
        console.print(f"{doubt}. That is never approved unattended: answer in Prefect's UI.")
        return True  # the question stands, and whoever answers it there is followed from here
    try:
        answer = _unattended(question.key, workspace) if yes and not doubt else ask(question, console)
    except EOFError:  # nobody can be asked here: whoever answers it elsewhere is followed from here
        console.print(
            f"Nothing was answered. It waits for you: prefworks session update {workspace.session} --instruction "
            '"Approved, proceed.", or Prefect\'s UI. Ctrl-C here cancels the run.',
            soft_wrap=True,
        )
        return True
    console.print(f"Answer: {json.dumps(answer)}")
    try:
        resume(client, run.id, answer)
    except NothingWaits:
        pass  # somebody answered in the UI meanwhile
    except AnswerRefused as refusal:
        console.print(f"Prefect did not take the answer: {refusal}")
        return False
    return True


def _never_unattended(key: str, workspace: Workspace) -> str:
    """What a human has to say yes to: more spending than was approved, or a line of the plan without a price."""
    if key.startswith("inputs"):
        return "Something is missing that only you can say"
    if key.startswith("spending"):
        return "This is more than the plan that was approved"
    if key.startswith("judge"):
        return "The judge is below the line"
    if key.startswith("evaluator"):
        return "The evaluator failed its trial"
    if key.startswith("pairs"):
        return "The strong model does not show that it is better than the weak one"
    plan = workspace.read("plan.json", Plan) if key.startswith("plan") else None
    if not key.startswith(("plan", "comparison", "promotion")):
        return "This gate asks for a human's judgement"
    return f"Unknown price: {', '.join(plan.unknown_prices)}" if plan and plan.unknown_prices else ""


def _unattended(key: str, workspace: Workspace) -> Answer:
    """Yes to every price; yes to the proposed candidate if it was measured to be better than its base.

    A clear winner goes through the promotion gate, one that only beats its base is promoted by name
    where there is no champion to beat.
    """
    if not key.startswith("comparison"):
        return {"decision": "approve"}
    comparison = workspace.read("comparison.json", Comparison)
    shown = comparison.headline if comparison else None
    worse = shown is None or shown.difference.low is None or shown.difference.low <= 0
    if shown is None or worse or (comparison and (comparison.clear or comparison.champion)):
        return {"decision": "continue"}
    return {"decision": "promote", "candidate": shown.candidate}
