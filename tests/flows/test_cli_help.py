"""What `--help` says: each command with an example that fits it, and its exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from flows.cli import app

NO_CODES = {"serve", "down"}  # until Ctrl-C; always 0


def commands(group: Any, *before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, *path)
        else:
            yield " ".join(path), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_and_its_exit_codes(name):
    told = COMMANDS[name].help or ""
    verb = name.removeprefix("session ") if name == "session verify" else name
    assert f"Example: prefworks {verb}" in told
    assert name in NO_CODES or name.startswith("notify ") or "Exit codes: " in told


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.startswith("session ")])
def test_every_session_command_has_json(name):
    assert any("--json" in option.opts for option in COMMANDS[name].params)
