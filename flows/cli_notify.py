"""`prefworks notify`: tell somebody when a run waits for an answer, through Prefect's automations.

Addresses and passwords are read from the environment or asked for, never from the command line, and kept in a block.
Exit codes: 0 done, 2 it cannot be: the message says why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.connecting import connect
from flows.failing import fail

if TYPE_CHECKING:
    from prefect.blocks.core import Block

URL = "PREFWORKS_NOTIFY_URL"
PASSWORD = "PREFWORKS_SMTP_PASSWORD"

app = typer.Typer(help="Tell somebody when a run waits: a webhook, Slack, or e-mail.", no_args_is_help=True)

Name = Annotated[str, typer.Option(help="What it is called; the same name again replaces it.")]
Ends = Annotated[bool, typer.Option("--ends", help="Also when a run has ended, or its process died.")]


class Security(StrEnum):
    STARTTLS = "starttls"
    SSL = "ssl"
    INSECURE = "insecure"


@app.command()
def webhook(name: Name = "webhook", ends: Ends = False) -> None:
    """POST JSON to an address, read from PREFWORKS_NOTIFY_URL or asked for. Example: prefworks notify webhook"""
    connect()
    from flows import notifying

    _save(name, lambda: notifying.webhook(_secret(URL, "Address of the webhook")), ends=ends)


@app.command()
def slack(name: Name = "slack", ends: Ends = False) -> None:
    """Write to a Slack channel: its incoming webhook is read from PREFWORKS_NOTIFY_URL or asked for.

    Example: prefworks notify slack --ends
    """
    connect()
    from flows import notifying

    _save(name, lambda: notifying.slack(_secret(URL, "Incoming webhook of the channel")), ends=ends)


@app.command()
def email(
    to: Annotated[str, typer.Option(help="Who is told.")],
    host: Annotated[str, typer.Option(help="The mail server.")],
    sender: Annotated[
        str, typer.Option("--from", help="The sender's address; left out: the user's, or who is told.")
    ] = "",
    user: Annotated[str, typer.Option(help="To sign in; left out: without.")] = "",
    port: Annotated[int, typer.Option(help="Its port.", min=1, max=65535)] = 587,
    security: Annotated[Security, typer.Option(help="How the connection is secured.")] = Security.STARTTLS,
    name: Name = "email",
    ends: Ends = False,
) -> None:
    """Send a mail through a mail server; the password is read from PREFWORKS_SMTP_PASSWORD or asked for.

    Example: prefworks notify email --to ada@example.com --host smtp.example.com --user ada@example.com
    """
    connect()
    from flows import notifying

    password = _secret(PASSWORD, f"Password of {user}") if user else ""
    whom = notifying.Mail(to, sender or (user if "@" in user else to), host, port, user, password, security.value)
    _save(name, lambda: notifying.mail(whom), ends=ends)


@app.command("list")
def list_notifications(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The notifications there are. Example: prefworks notify list"""
    connect()
    from prefect.client.orchestration import get_client

    from flows.notifying import PREFIX, notifications

    with get_client(sync_client=True) as client:
        found = notifications(client)
    if as_json:
        shown = [{"name": a.name.removeprefix(PREFIX), "enabled": a.enabled, "does": a.actions[0].type} for a in found]
        typer.echo(json.dumps(shown))
        return
    for a in found:
        typer.echo(f"{a.name.removeprefix(PREFIX)}: {a.actions[0].type}{'' if a.enabled else ', switched off'}")
    if not found:
        typer.echo("There are none.")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="As `list` shows it.")]) -> None:
    """Take a notification and its address away. Example: prefworks notify remove slack"""
    connect()
    from prefect.client.orchestration import get_client

    from flows import notifying

    with get_client(sync_client=True) as client:
        try:
            notifying.remove(client, name)
        except notifying.CannotNotify as error:
            fail(str(error))
    typer.echo(f"Removed {name}.")


def _secret(variable: str, prompt: str) -> str:
    return (os.environ.get(variable) or str(typer.prompt(prompt, hide_input=True))).strip()


def _save(name: str, block: Callable[[], Block], *, ends: bool) -> None:
    from prefect.client.orchestration import get_client

    from flows import notifying

    with get_client(sync_client=True) as client:
        try:
            notifying.notify(client, name, block(), also_ends=ends)
        except notifying.CannotNotify as error:
            fail(str(error))
    when = "waits, has ended, or lost its process" if ends else "waits"
    typer.echo(f"Prefect tells {name} when a run {when}. See Automations in its UI; `prefworks notify remove {name}`.")
