"""The files of an evaluator's source, looked at and never run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

SKIPPED = {".git", "__pycache__", ".pytest_cache", ".venv", "venv", "node_modules"}


class EvaluatorError(Exception):
    """An evaluator that cannot be read, installed or run; the message says what to do."""


def files_of(root: Path) -> Iterator[str]:
    """Relative paths of all files that could be run or read."""
    for path, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in [*folders, *names]:
            file = Path(path, name)
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                raise EvaluatorError(f"{file.relative_to(root)} is a link that leads out of the source")
        for name in names:
            file = Path(path, name)
            if file.is_file() and file.suffix != ".pyc":
                yield file.relative_to(root).as_posix()


def is_inside(root: Path, path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and (root / parts).is_file()


def parse_python(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise EvaluatorError(f"{path.name} is not valid Python: {error}") from None


def top_level_names(path: Path) -> set[str]:
    """Names that a module defines or imports at its top level, also under `if` and `try`."""
    names: set[str] = set()

    def visit(body: Sequence[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                for part in ("body", "orelse", "finalbody"):
                    visit(getattr(node, part, []))
                for handler in getattr(node, "handlers", []):
                    visit(handler.body)

    visit(parse_python(path).body)
    return names


def declared_mode(path: Path, function: str) -> str:
    """ "pointwise", "groupwise" or "all", by the function's decorator, else by what it takes; pointwise if unknown."""
    for node in ast.walk(parse_python(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            for decorator in node.decorator_list:
                for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
                    if keyword.arg == "mode" and isinstance(keyword.value, ast.Constant):
                        return {"batch": "all"}.get(str(keyword.value.value), str(keyword.value.value))
            takes = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
            return "all" if takes & {"rows", "rollouts_messages"} else "pointwise"
    return "pointwise"
