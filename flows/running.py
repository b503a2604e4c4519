"""A request file, run from the shell to its last lines: verdict, report, endpoint, and how to go on."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from flows.failing import fail
from preference.session import SessionRecord, SessionState, session_id

console = Console()


def run_file(
    request_file: Path, session: str, *, yes: bool, again: str = "", overrides: dict[str, Any] | None = None
) -> int:
    """Run the request and follow it; the exit code. again: the words that go on with a session, but for its ID."""
    from flows.follow import Interrupted, read_request, run_and_follow
    from flows.runs import run_url

    session = session or session_id(time.time(), uuid.uuid4().hex)
    try:
        request = read_request(request_file, {**(overrides or {}), "session": session})
    except (ValidationError, ValueError) as error:
        fail(f"{request_file}: {error}")
    try:
        finished = run_and_follow(request, console, yes=yes)
    except Interrupted:
        _conclude(session, "", again)
        return 130
    _conclude(session, run_url(finished.id), again)
    return 0 if finished.state and finished.state.is_completed() else 1


def _conclude(session: str, url: str, again: str) -> None:
    """The last lines: verdict, report, endpoint, and how to look at it."""
    from blocks.workspace import Workspace
    from preference.comparison import Comparison
    from preference.comparison_page import headline_text
    from preference.report import EndpointFacts

    workspace = Workspace(session)
    record = workspace.read("session.json", SessionRecord)
    comparison = workspace.read("comparison.json", Comparison)
    endpoint = workspace.read("deployment.json", EndpointFacts)
    console.rule()
    if record is None:
        console.print(f"The run did not begin; see {workspace.folder / 'flow.log'}")
        return
    console.print(f"{record.outcome or record.state}: {record.message}", highlight=False)
    if comparison and comparison.headline:
        console.print(headline_text(comparison.headline), highlight=False)
    if endpoint:
        console.print(f"Endpoint  {endpoint.base_url}/chat/completions, model {endpoint.address}", soft_wrap=True)
    console.print(f"Report    {workspace.folder / 'final_report.md'}", soft_wrap=True)
    if url:
        console.print(f"UI        {url}", soft_wrap=True)
    if record.state in (SessionState.RUNNING, SessionState.WAITING, SessionState.FAILED):
        same = f" ({again}{session})" if again else ""
        console.print(f"Go on with it: the same command with --session {session}{same}")
