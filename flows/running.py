"""A request, run from the shell to its last lines: verdict, report, endpoint, and how to go on."""

from __future__ import annotations

import time
import uuid
from typing import Any

from rich.console import Console

from preference.session import SessionRecord, SessionState, session_id
from preference.settings import PreferenceRequest

console = Console()


def new_session() -> str:
    return session_id(time.time(), uuid.uuid4().hex)


def run_request(request: PreferenceRequest, *, yes: bool, again: str = "", shown: Console = console) -> int:
    """Run the request and follow it; the exit code. again: the words that go on with a session, but for its ID."""
    from flows.follow import Interrupted, run_and_follow
    from flows.runs import run_url

    session = request.session or new_session()
    try:
        finished = run_and_follow(request.model_copy(update={"session": session}), shown, yes=yes)
    except Interrupted:
        _conclude(session, "", again, shown)
        return 130
    _conclude(session, run_url(finished.id), again, shown)
    return 0 if finished.state and finished.state.is_completed() else 1


def ended(session: str) -> dict[str, Any]:
    """For programs: how the session ended, and where to look."""
    from blocks.workspace import Workspace
    from preference.report_facts import EndpointFacts

    workspace = Workspace(session)
    record = workspace.read("session.json", SessionRecord)
    endpoint = workspace.read("deployment.json", EndpointFacts)
    return {
        "session": session,
        "state": record.state if record else None,
        "outcome": record.outcome if record else None,
        "message": record.message if record else "the run did not begin",
        "report": str(workspace.folder / "final_report.md"),
        "endpoint": endpoint.model_dump(mode="json") if endpoint else None,
    }


def _conclude(session: str, url: str, again: str, shown: Console) -> None:
    """The last lines: verdict, report, endpoint, and how to look at it."""
    from blocks.workspace import Workspace
    from preference.comparison_page import headline_text
    from preference.report_facts import EndpointFacts
    from preference.standings import Comparison

    workspace = Workspace(session)
    record = workspace.read("session.json", SessionRecord)
    comparison = workspace.read("comparison.json", Comparison)
    endpoint = workspace.read("deployment.json", EndpointFacts)
    shown.rule()
    if record is None:
        shown.print(f"The run did not begin; see {workspace.folder / 'flow.log'}")
        return
    shown.print(f"{record.outcome or record.state}: {record.message}", highlight=False)
    if comparison and comparison.headline:
        shown.print(headline_text(comparison.headline), highlight=False)
    if endpoint:
        shown.print(f"Endpoint  {endpoint.base_url}/chat/completions, model {endpoint.address}", soft_wrap=True)
    shown.print(f"Report    {workspace.folder / 'final_report.md'}", soft_wrap=True)
    if url:
        shown.print(f"UI        {url}", soft_wrap=True)
    if record.state in (SessionState.RUNNING, SessionState.WAITING, SessionState.FAILED):
        same = f" ({again}{session})" if again else ""
        shown.print(f"Go on with it: the same command with --session {session}{same}")
