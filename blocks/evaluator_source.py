"""What an evaluator's source says about itself, read without running any of it.

Two forms: a folder as the platform's archive unpacks (a requirements.txt at its root, an entry point such as
`tests/test_quality.py::test_quality` or `quality::evaluate`), and code snippets inline in the evaluator's criteria,
whose functions' scores are averaged.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from blocks.evaluator_requirements import requirements_of
from blocks.evaluator_tree import (
    SKIPPED,
    EvaluatorError,
    declared_mode,
    files_of,
    is_inside,
    parse_python,
    top_level_names,
)
from preference.wire import Criterion, Evaluator, resource_id

_INLINE = "inline_criteria"


@dataclass(frozen=True)
class EntryPoint:
    """A function that scores: path is relative to the source's folder."""

    name: str
    path: str
    function: str


@dataclass(frozen=True)
class EvaluatorSource:
    """What would be run: shown to a person before it is."""

    name: str
    folder: Path
    entry_points: tuple[EntryPoint, ...]
    requirements: tuple[str, ...]
    sha256: str  # of all files with their paths, the entry points and the requirements
    n_bytes: int
    n_files: int
    mode: str = "pointwise"  # "groupwise": it wants all answers to a prompt in one run; "all": all rows

    @property
    def entry_point(self) -> str:
        return ", ".join(f"{entry.path}::{entry.function}" for entry in self.entry_points)


def inspect_source(folder: Path, evaluator: Evaluator | None = None) -> EvaluatorSource:
    """Read an unpacked source; inline criteria are first written into folder/inline_criteria.

    folder: the archive's root folder, or the folder that holds it alone. Nothing is imported or executed.
    Raises EvaluatorError where no entry point can be found, or a link leads out of the folder.
    """
    evaluator = evaluator or Evaluator()
    root = _root(folder)
    list(files_of(root))  # no link leads out, before anything is written
    name = resource_id(evaluator.name) or root.name
    snippets = [c for c in evaluator.criteria or [] if c.code_snippets and c.code_snippets.file_contents]
    entries = _write_criteria(root, snippets) if snippets else [_entry_point(root, evaluator.entry_point)]
    requirements = requirements_of(root, evaluator.requirements or "")
    files = sorted(files_of(root))
    return EvaluatorSource(
        name=name,
        folder=root,
        entry_points=tuple(entries),
        requirements=requirements,
        sha256=_digest(root, files, entries, requirements),
        n_bytes=sum((root / file).stat().st_size for file in files),
        n_files=len(files),
        mode=_widest(declared_mode(root / entry.path, entry.function) for entry in entries),
    )


def _widest(modes: Iterable[str]) -> str:
    found = set(modes)
    return next((mode for mode in ("all", "groupwise") if mode in found), "pointwise")


def copy_source(source: EvaluatorSource, target: Path) -> EvaluatorSource:
    """Copy what was inspected, readable for all, and nothing that came to the folder since.

    Raises EvaluatorError where it is not what it was: what a person approved is what runs.
    """
    for file in sorted(files_of(source.folder)):
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.folder / file, copy)
        copy.chmod(0o755 if os.access(source.folder / file, os.X_OK) else 0o644)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)
    found = _digest(target, sorted(files_of(target)), source.entry_points, source.requirements)
    if found != source.sha256:
        raise EvaluatorError(
            f"the source of {source.name} has changed since it was inspected "
            f"(then {source.sha256[:12]}, now {found[:12]}): inspect it again and have it approved"
        )
    return replace(source, folder=target)


def _root(folder: Path) -> Path:
    """The project's root: the folder, or its only folder where the archive's prefix is still around it."""
    if not folder.is_dir():
        raise EvaluatorError(f"{folder} is not a folder: give the evaluator's unpacked source")
    inside = [path for path in folder.iterdir() if path.name not in SKIPPED]
    if len(inside) == 1 and inside[0].is_dir() and (inside[0] / "requirements.txt").exists():
        return inside[0].resolve()
    return folder.resolve()


def _digest(root: Path, files: Sequence[str], entries: Sequence[EntryPoint], requirements: Sequence[str]) -> str:
    """Each part goes in with its length, so that no two different sources read the same."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "big") + part)

    for file in files:
        add(file.encode())
        add((root / file).read_bytes())
    for entry in entries:
        add(f"{entry.path}::{entry.function}".encode())
    for requirement in requirements:
        add(requirement.encode())
    return digest.hexdigest()


def _entry_point(root: Path, text: str | None) -> EntryPoint:
    """`path/to/file.py::function` or `module::function`; the only candidate where none is given."""
    if not text:
        return _only_candidate(root)
    where, _, function = text.partition("::")
    function = function.partition("[")[0]  # a pytest node's parameters
    if not where or not re.fullmatch(r"[\w.]+", function):
        raise EvaluatorError(f"the entry point {text!r} is not of the form path/to/file.py::function")
    path = where if where.endswith(".py") else where.replace(".", "/") + ".py"
    if not is_inside(root, path) and is_inside(root, where.replace(".", "/") + "/__init__.py"):
        path = where.replace(".", "/") + "/__init__.py"
    if not is_inside(root, path):
        raise EvaluatorError(f"the entry point {text!r} names {path}, which the source does not have")
    if function.partition(".")[0] not in top_level_names(root / path):
        raise EvaluatorError(f"the entry point {text!r} names {function}, which {path} does not define")
    return EntryPoint(function, path, function)


def _only_candidate(root: Path) -> EntryPoint:
    found = [
        EntryPoint(node.name, file, node.name)
        for file in sorted(files_of(root))
        if file.endswith(".py")
        for node in parse_python(root / file).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _scores(node)
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{entry.path}::{entry.function}" for entry in found) or "none"
    raise EvaluatorError(f"the evaluator names no entry point, and its source has not just one (found: {listed})")


def _scores(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is an evaluator by its decorator, or is called evaluate."""
    names = set()
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        names.add(target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", ""))
    return node.name == "evaluate" or bool(names & {"evaluation_test", "reward_function"})


def _write_criteria(root: Path, criteria: Sequence[Criterion]) -> list[EntryPoint]:
    shutil.rmtree(root / _INLINE, ignore_errors=True)  # what an earlier look at another version wrote
    entries: list[EntryPoint] = []
    for place, criterion in enumerate(criteria):
        snippets = criterion.code_snippets
        assert snippets is not None
        contents = snippets.file_contents or {}
        name = criterion.name or f"criterion-{place + 1}"
        if name in {entry.name for entry in entries}:
            name = f"{name}-{place + 1}"
        if (snippets.language or "python").lower() not in ("python", "py", "python3"):
            raise EvaluatorError(f"criterion {name} is written in {snippets.language}; only Python can be run")
        folder = f"{_INLINE}/{place + 1}"
        for file, code in contents.items():
            parts = PurePosixPath(file)
            if parts.is_absolute() or ".." in parts.parts:
                raise EvaluatorError(f"criterion {name} has a file outside of its folder: {file}")
            target = root / folder / parts
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(code, encoding="utf-8")
        first = "main.py" if "main.py" in contents else next(iter(contents))
        text = f"{folder}/{snippets.entry_file or first}::{snippets.entry_func or 'evaluate'}"
        entry = _entry_point(root, text)
        entries.append(EntryPoint(name, entry.path, entry.function))
    return entries
