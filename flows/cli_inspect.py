"""`prefworks inspect`: what a file holds, and what is wrong with it, without running anything."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from preference.formats import BadDataset, Intake, describe_trouble
from preference.formats import inspect as read
from preference.profile import Profile, profile
from preference.tokens import TokenizerMissing, counter_for

FAULTY, UNREADABLE = 1, 2


def inspect(
    file: Annotated[Path, typer.Argument(help="Pairs or prompts: JSON lines, JSON, CSV, Parquet, packed or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs; docs/inspect.md has the keys.")] = False,
    tokenizer: Annotated[Path | None, typer.Option(help="A model's folder, for exact token counts.")] = None,
    context_length: Annotated[
        list[int] | None, typer.Option(help="Count rows over so many tokens. May repeat.")
    ] = None,
) -> None:
    """Show what a dataset file holds, and every fault; nothing is changed. Example: prefworks inspect pairs.jsonl

    Ends with 0 where the file can be used, 1 where rows are at fault, 2 where it cannot be read at all.
    """
    limits = {f"{n} tokens": n for n in context_length or []}
    found: Profile | None = None
    intake: Intake | None = None
    code = 0
    try:
        if not file.is_file():
            raise BadDataset(f"there is no file {file} (looked in {Path.cwd()})")
        counter = counter_for(tokenizer)
        with tempfile.TemporaryDirectory(prefix="prefworks-") as folder:
            staged = Path(folder) / "data.jsonl"
            intake = read(file, staged)
            trouble = describe_trouble(intake)
            if trouble:
                code = FAULTY
            else:
                found = profile(staged, counter, intake=intake, context_lengths=limits)
    except (BadDataset, TokenizerMissing) as error:
        trouble, code = str(error), UNREADABLE
    if as_json:
        value = {
            "trouble": trouble,
            "profile": found.to_json() if found else None,
            "intake": intake.model_dump(mode="json") if intake else None,
        }
        typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        for row in found.rows() if found else []:
            typer.echo(f"{row['what']}: {row['value']}")
        if trouble:
            typer.echo(f"prefworks: {trouble}", err=True)
    raise typer.Exit(code)
