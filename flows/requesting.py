"""A request from the shell: a file, plain English, single fields, or all of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from blocks.workspace import Workspace
from flows.failing import fail
from preference.instruction import InstructionRefused, read_instruction
from preference.session import SessionRecord
from preference.settings import PreferenceRequest

FILES = ("dataset", "held_out", "evaluator", "labelled")  # fields that may name a file
NOT_VALID = 2

Instruction = Annotated[
    str, typer.Option("--instruction", metavar="TEXT", help="What to do, in plain English. Fields that are given win.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the request; wins over the file. Repeatable."),
]


def made_request(file: Path | None, instruction: str, fields: Sequence[str], session: str = "") -> PreferenceRequest:
    """The request, or exit 2 with what is wrong with it. A session that goes on is asked what it was asked.

    Files that the text or a field names are found from the current folder, since the run may be in another.
    """
    given = {name: _found(name, value, Path.cwd()) for name, value in (_pair(field) for field in fields)}
    if session:
        given["session"] = session
    where = str(file) if file else "the request"
    try:
        if instruction:
            given = {**_files_in(instruction, Path.cwd()), "instruction": instruction, **given}
        if file is not None:
            given = {**_mapping(file), **given}
        elif session and (record := Workspace(session).read("session.json", SessionRecord)):
            given = {**record.request.model_dump(exclude_unset=True), **given}
        if not given:
            fail("what is to be done? Give a request file, --instruction TEXT, or --set FIELD=VALUE.", NOT_VALID)
        return PreferenceRequest.model_validate(given)
    except ValidationError as error:
        fail(f"{where}: {faults_text(error)}", NOT_VALID)
    except (ValueError, InstructionRefused) as error:
        fail(f"{where}: {error}", NOT_VALID)


def read_request(file: Path) -> PreferenceRequest:
    """A request file (YAML). Raises ValueError."""
    return PreferenceRequest.model_validate(_mapping(file))


def faults_text(error: ValidationError) -> str:
    """Every fault in a line: the field, what is wrong, what was found."""
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        hidden = not place or "key" in place or isinstance(fault["input"], dict)
        found = "" if hidden else f" (found {fault['input']!r:.80})"
        said = str(fault["msg"]).removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            said, found = "there is no such field", ""
        lines.append(f"{place}: {said}{found}" if place else said)
    return "\n  ".join(lines) if len(lines) == 1 else "\n  " + "\n  ".join(lines)


def _mapping(file: Path) -> dict[str, Any]:
    """What a request file (YAML) says; paths in it are relative to its own folder. Raises ValueError."""
    try:
        data = yaml.safe_load(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(
            "it is not UTF-8 text: a request is a YAML file, such as examples/concise/request.yaml"
        ) from None
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise ValueError(f"it is not YAML (a text with a colon needs quotes): {told}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        what = "it is empty" if data is None else f"it is a {type(data).__name__}"
        raise ValueError(f"{what}, and a request is a mapping of fields, such as `dataset: ...`")
    given = {name: _found(name, value, file.parent) for name, value in data.items()}
    return {**_files_in(str(data.get("instruction") or ""), file.parent), **given}


def _pair(field: str) -> tuple[str, Any]:
    name, equals, value = field.partition("=")
    if not equals or not name.strip():
        fail(f"--set {field!r} is not FIELD=VALUE, such as max_active_jobs=2.", NOT_VALID)
    about = PreferenceRequest.model_fields.get(name.strip())
    if about is not None and about.annotation is str:
        return name.strip(), value  # a text may have a colon in it
    try:
        return name.strip(), yaml.safe_load(value)  # 1e-4 and [DPO, ORPO] as in a request file
    except yaml.YAMLError as error:
        fail(f"--set {name}: {value!r} is not a value: {' '.join(str(error).split())}", NOT_VALID)


def _found(name: str, value: Any, folder: Path) -> Any:
    """The value, as an absolute path where it names a file there."""
    if name not in FILES or not isinstance(value, str) or not value.strip():
        return value
    path, *function = value.strip().split("::")
    file = (folder / Path(path).expanduser()).resolve()
    return "::".join([str(file), *function]) if file.is_file() else value


def _files_in(instruction: str, folder: Path) -> dict[str, str]:
    """The files that a text names, where they are in this folder. Raises InstructionRefused."""
    said = read_instruction(instruction).fields
    named = {name: said[name] for name in FILES if isinstance(said.get(name), str)}
    return {name: found for name, value in named.items() if (found := _found(name, value, folder)) != value}
