"""How a command of the shell ends when it cannot do what was asked."""

from __future__ import annotations

from typing import NoReturn

import typer


def fail(message: str, code: int = 2) -> NoReturn:
    """Say why on stderr, and end with this exit code."""
    typer.echo(f"prefworks: {message}", err=True)
    raise typer.Exit(code) from None
