"""`prefworks instruction`: what a text would be understood to ask for, without running anything."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from flows.failing import fail
from preference.instruction import InstructionRefused, read_instruction
from preference.instruction_reading import Reading, shown_value

UNCLEAR, REFUSED = 1, 2


def instruction(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Plain English; - reads it from standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a text asks for, field by field with its words, and what was not understood; nothing is run.

    Model names stay as written: they are looked up on the platform when the run begins.

    Example: prefworks instruction "Run DPO on accounts/me/datasets/prefs using Qwen3 32B. Budget: under $5."

    Exit codes: 0 all was understood, 1 something is asked or was not understood, 2 it is refused.
    """
    try:
        reading = read_instruction(sys.stdin.read() if text == "-" else text)
    except InstructionRefused as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}))
            raise typer.Exit(REFUSED) from None
        fail(str(error), REFUSED)
    if as_json:
        typer.echo(reading.model_dump_json(indent=1))
    else:
        _print(reading)
    raise typer.Exit(REFUSED if reading.refused else UNCLEAR if not (reading.clear and reading.understood) else 0)


def _print(reading: Reading) -> None:
    for one in reading.understood:
        note = f" ({one.note})" if one.note else ""
        typer.echo(f"{one.field}: {shown_value(one.value)}{note}  ← “{one.words}”")
    for asked in reading.questions:
        typer.echo(f"to answer: {asked.text}  ← “{asked.words}”")
    for refused in reading.refused:
        typer.echo(f"refused: “{refused.words}”. {refused.text}")
    for unread in reading.not_understood:
        typer.echo(f"not understood: “{unread.words}” ({unread.why})")
    if not (reading.understood or not reading.clear):
        typer.echo("There is nothing in it to act on.")
