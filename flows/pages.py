"""Which page of a gate somebody in the shell has seen, so that an answer is not taken for another page.

A gate's key ends in the hash of its page. Prefect takes an answer for whatever waits at that moment, so a yes to one
plan would be one to the plan that took its place meanwhile.
"""

from __future__ import annotations

from blocks.workspace import Workspace

FILE = "shown.json"


def remember(workspace: Workspace, key: str) -> None:
    """Note the page that was just shown; of a session without a folder here, nothing is kept."""
    if workspace.folder.exists():
        workspace.write(FILE, {"key": key})


def why_not_for(workspace: Workspace, key: str, told: str = "") -> str:
    """Why an answer may be meant for another page than the one that waits; empty where nothing says so.

    key: what waits. told: the key, or the gate, that the caller says it answers. Without an exact key it is held
    against the page that was last shown here; one seen elsewhere, as in Prefect's UI, may be any until the gate has
    asked a second time.
    """
    gate = key.split("-")[0]
    if told and told not in (key, gate):
        return f"that answers {told}, and {key} waits now"
    if told == key:
        return ""
    shown = (workspace.read_json(FILE) or {}).get("key", "") if workspace.folder.exists() else ""
    if shown and shown != key:
        return f"the page that was shown here last is {shown}, and {key} waits now"
    if not shown and any(record["gate"] == gate for record in workspace.lines("approvals.jsonl")):
        return f"the {gate} gate was answered before, and asks about another page now, which was not shown here"
    return ""
