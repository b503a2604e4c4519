"""The shell: `prefworks --help`. Prefect is imported late, since its settings are the environment's."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from blocks.workspace import NEEDED_MB, prefworks_home, space_trouble
from flows import (
    cli_notify,
    cli_session,
    cli_session_end,
    cli_session_resume,
    cli_session_run,
    cli_session_update,
    services,
)
from flows.cli_inspect import inspect
from flows.cli_instruction import instruction
from flows.cli_verify import verify
from flows.connecting import connect, read_dot_env, use
from flows.failing import fail
from flows.requesting import Fields, Instruction, faults_text, made_request
from flows.running import ended, new_session, run_request

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "concise" / "request.yaml"
DEMO = "make demo SESSION="
PROMPTS = ROOT / "examples" / "prompts" / "request.yaml"

app = typer.Typer(
    name="prefworks",
    help="Preference learning, from a dataset to a deployed, measured model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(inspect)
for session_command in (
    cli_session_run.create,
    cli_session_run.events,
    cli_session_update.update,
    cli_session_resume.resume,
    cli_session_end.cancel,
    cli_session_end.clean,
    verify,
):
    cli_session.app.command()(session_command)
app.command()(instruction)
app.add_typer(cli_session.app, name="session")
app.add_typer(cli_notify.app, name="notify")
app.command()(verify)
console = Console()

PrefectPort = Annotated[int, typer.Option(envvar="PREFECT_PORT", help="Port of the Prefect server and its UI.")]
ServerPort = Annotated[int, typer.Option(envvar="LOCAL_SERVER_PORT", help="Port of the local server.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Run the local server of the Fireworks API in the foreground, until Ctrl-C.

    Example: prefworks serve --port 8787
    """
    # this process becomes the server: what ends the one, ends the other
    os.execv(sys.executable, [sys.executable, "-m", "local_server", *context.args])


@app.command()
def up(prefect_port: PrefectPort = services.PREFECT_PORT, server_port: ServerPort = services.LOCAL_SERVER_PORT) -> None:
    """Start the Prefect server with its UI, the local server and a worker; register blocks and deployments.

    Example: prefworks up

    Exit codes: 0 all runs (also where it did already), 2 something could not be started; what and why is said.
    """
    _start(services.local_server(server_port))
    _start(services.prefect_server(prefect_port))
    use(prefect_port)
    from flows import deploying

    deploying.save_blocks(server_port)
    try:
        deploying.deploy()
    except deploying.CannotDeploy as error:
        fail(str(error))
    _start(services.worker(prefect_port))
    console.print(f"\nPrefect UI    {_ui(prefect_port)}/deployments  (start a run of preference-learning there)")
    console.print(f"Local server  http://127.0.0.1:{server_port}  (the Fireworks API on this machine)")
    console.print(f"Other shells  export PREFECT_API_URL={_ui(prefect_port)}/api  (for the `prefect` command)")
    console.print("Stop all with: make down")


@app.command()
def down() -> None:
    """Stop what `up` started, where it runs.

    Example: prefworks down
    """
    stopped = [n for n in ("prefect-worker", "prefect-server", "local-server") if services.stop(n)]
    console.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was running.")


@app.command()
def run(
    request: Annotated[
        Path | None, typer.Argument(metavar="REQUEST", help="A request file (YAML).", exists=True, dir_okay=False)
    ] = None,
    instruction: Instruction = "",
    fields: Fields = None,
    session: Annotated[str, typer.Option(help="Go on with this session.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Approve and continue without asking.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print how it ended as JSON; the rest goes to stderr.")
    ] = False,
) -> None:
    """Create a session, run it here and follow it, asking at the terminal; needs `prefworks up`.

    Example: prefworks run examples/concise/request.yaml

    Example: prefworks run --instruction "Run DPO on accounts/me/datasets/prefs using Qwen3 32B."

    Exit codes: 0 it completed (deployed or not, rejected, timed out), 1 it failed, 2 the request is not valid, or there
    is no Prefect server, 130 cancelled by Ctrl-C.
    """
    session = cli_session.check_id(session) if session else ""
    asked = made_request(request, instruction, fields or [], session)
    connect()
    asked = asked.model_copy(update={"session": session or new_session()})
    code = run_request(asked, yes=yes, shown=Console(stderr=True) if as_json else console)
    if as_json:
        typer.echo(json.dumps(ended(asked.session), ensure_ascii=False))
    raise typer.Exit(code)


@app.command()
def platform(
    name: Annotated[str, typer.Argument(help="The block's name: what a request calls `platform`.")],
    base_url: Annotated[str, typer.Option(help="Address of the API.")] = "https://api.fireworks.ai",
    account: Annotated[str, typer.Option(help="Account ID; found from the key when left out.")] = "",
    price_book: Annotated[str, typer.Option(help="fireworks, local, or a .toml file.")] = "fireworks",
) -> None:
    """Save a platform with its key, which is read from FIREWORKS_API_KEY or asked for, never from the command line.

    Example: prefworks platform fireworks

    Exit codes: 0 saved, 1 the platform does not take the key, or a value is not valid, 2 there is no Prefect server.
    """
    connect()
    from blocks.errors import PlatformError
    from blocks.fireworks import FireworksPlatform

    key = os.environ.get("FIREWORKS_API_KEY") or typer.prompt("API key", hide_input=True)
    try:
        block = FireworksPlatform(base_url=base_url, account=account, api_key=key, price_book=price_book)
        block.get_price_book()
        with block.get_client() as client:
            client.list_models(client.account)
            console.print(f"{base_url} knows this key; the account is {client.account}.")
        block.save(name, overwrite=True)
    except (PlatformError, ValidationError, ValueError, OSError) as error:
        told = faults_text(error) if isinstance(error, ValidationError) else str(error)
        fail(f"nothing was saved: {told}", 1)
    console.print(f"Saved. A request uses it with `platform: {name}`.")


@app.command()
def demo(
    prompts: Annotated[
        bool, typer.Option("--prompts", help="From prompts without answers: the demo's model against its base.")
    ] = False,
    session: Annotated[str, typer.Option(envvar="SESSION", help="Go on with this session.")] = "",
    yes: Annotated[bool, typer.Option("--yes", envvar="YES", help="Approve and continue without asking.")] = False,
    prefect_port: PrefectPort = services.PREFECT_PORT,
    server_port: ServerPort = services.LOCAL_SERVER_PORT,
) -> None:
    """The whole job on the example: start what it needs, run it, stop what was started.

    Example: prefworks demo --yes

    Exit codes: as those of `prefworks run`.
    """
    begun = time.monotonic()
    session = cli_session.check_id(session) if session else ""
    running = {name: services.running(name) for name in ("prefect-server", "local-server")}
    prefect_port = running["prefect-server"] or services.free_port(prefect_port)
    server_port = running["local-server"] or services.free_port(server_port)
    started = []
    try:
        for service in (services.local_server(server_port), services.prefect_server(prefect_port)):
            if running[service.name] is None:
                started.append(service.name)
                _start(service)
        use(prefect_port)
        from flows.deploying import save_blocks

        save_blocks(server_port)
        yes = yes or not sys.stdin.isatty()
        if prompts:
            code = _demo_from_prompts(session, yes=yes)
        else:
            code = run_request(made_request(EXAMPLE, "", [], session), yes=yes, again=DEMO)
    finally:
        for name in reversed(started):
            services.stop(name)
    if started:
        console.print("\nThe servers were stopped. `make up` brings them back, with the deployed model and the UI.")
    console.print(f"Took {time.monotonic() - begun:.0f} s.")
    raise typer.Exit(code)


def _demo_from_prompts(session: str, *, yes: bool) -> int:
    """The strong model is the demo's: what the last one deployed, or else one that is tuned and deployed first."""
    from flows.strong_model import find_strong, strong_of

    strong = strong_of(session) or find_strong(EXAMPLE)
    if strong is None:
        console.print("\nThe strong model is the one that `prefworks demo` deploys, and there is none yet: that first.")
        if code := run_request(made_request(EXAMPLE, "", []), yes=yes, again=DEMO):
            return code
        strong = find_strong(EXAMPLE)
    if strong is None:
        fail("the demo deployed no model, so there is none to learn from. Try it again: prefworks demo")
    console.print(f"\nThe strong model is {strong}, which the demo deployed.", soft_wrap=True)
    asked = made_request(PROMPTS, "", [], session)
    pairs = asked.pairs.model_copy(update={"strong": strong})
    return run_request(asked.model_copy(update={"pairs": pairs}), yes=yes, again="make demo-prompts SESSION=")


def _start(service: services.Service) -> None:
    if trouble := space_trouble(NEEDED_MB):
        fail(trouble)
    where = f" on port {service.port}" if service.port else ""
    console.print(f"{service.name}{where} ... ", end="")
    try:
        console.print("started" if services.start(service) else "already running")
    except services.ServiceError as error:
        console.print("failed")
        fail(str(error))


def _ui(prefect_port: int) -> str:
    return f"http://127.0.0.1:{prefect_port}"


def main() -> None:
    """The entry point. Being told to end is the same as Ctrl-C: what was started is stopped."""
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 has no arrows, and no traceback
    read_dot_env()
    prefworks_home().mkdir(parents=True, exist_ok=True)
    app()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
