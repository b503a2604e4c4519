"""`prefworks verify`: whether a session's report can be made again from its folder."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from blocks.workspace import Workspace
from flows.failing import fail

DIFFERENT, NOTHING_TO_CHECK = 1, 2


def verify(
    session: Annotated[str, typer.Argument(help="A session's ID: the name of its folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs: session, differences.")] = False,
) -> None:
    """Compute every number of a session's report again from its folder. No server is needed, nothing is changed.

    Example: prefworks verify 1779157376-41e1

    Exit codes: 0 all agree, 1 something differs (each is named), 2 there is no report to check.
    """
    from tasks.verifying import CannotVerify
    from tasks.verifying import verify as check

    try:
        found = check(Workspace(session))
    except (CannotVerify, ValueError) as error:
        fail(str(error), NOTHING_TO_CHECK)
    if as_json:
        typer.echo(json.dumps({"session": session, "differences": found}, ensure_ascii=False, indent=1))
    elif found:
        typer.echo("\n".join(found))
        typer.echo(f"{len(found)} differences: the report is not what the session's folder holds.")
    else:
        typer.echo("Every number of the report and the comparison was computed again and agrees.")
    raise typer.Exit(DIFFERENT if found else 0)
