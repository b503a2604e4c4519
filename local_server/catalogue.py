"""The base models that the local server knows: those it ships with, and the folders that a user added.

A user's file is <home>/models.toml; a line there is enough:

    my-model = "/models/Qwen3-0.6B"

What such a line leaves out is read from the folder: config.json and the headers of the safetensors files.
"""

from __future__ import annotations

import json
import struct
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from preference.wire import is_resource_id

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
USER_FILE = "models.toml"
_SHIPPED = Path(__file__).with_name("catalogue.toml")


class CatalogueError(ValueError):
    """A line of the catalogue that names no usable model."""


@dataclass(frozen=True)
class PackagedWeights:
    """A GGUF file inside a wheel of the package index."""

    requirement: str  # pinned, as pip reads it
    file: str  # the GGUF's path inside the wheel
    sha256: str  # of the GGUF


@dataclass(frozen=True)
class BaseModelEntry:
    """A base model; either folder (a Hugging Face folder) or package says where its weights come from."""

    id: str
    display_name: str
    context_length: int  # tokens
    parameter_count: int
    model_type: str = ""
    license: str | None = None
    lora_layers: int | None = None  # how many of the top layers carry adapters; None leaves it to the trainer
    folder: Path | None = None
    package: PackagedWeights | None = None


_KEYS = {field.name for field in fields(BaseModelEntry)} - {"id"}


def load(home: Path) -> list[BaseModelEntry]:
    """The shipped models, then the user's; a user's line replaces the shipped entry of that ID.

    Raises CatalogueError, which names the file, the line's ID, and what to do.
    """
    entries = _read(_SHIPPED)
    user_file = home / USER_FILE
    if user_file.exists():
        entries |= _read(user_file)
    return list(entries.values())


def _read(path: Path) -> dict[str, BaseModelEntry]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f'{path} is not TOML: {error}. A line there reads: my-model = "/a/folder".') from error
    return {id: _entry(path, id, value) for id, value in table.items()}


def _entry(path: Path, id: str, value: Any) -> BaseModelEntry:
    where = f"{path}, model {id!r}"
    if not is_resource_id(id):
        raise CatalogueError(f"{where}: an ID has 1 to 63 of a-z 0-9 -, a letter first, no - at its end. Rename it.")
    stated: dict[str, Any] = {"folder": value} if isinstance(value, str) else value
    if not isinstance(stated, dict):
        raise CatalogueError(f"{where}: expected a folder's path or a table, found {value!r}.")
    if unknown := stated.keys() - _KEYS:
        raise CatalogueError(
            f"{where}: unknown key {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KEYS))}."
        )
    if not stated.keys() & {"folder", "package"}:
        raise CatalogueError(f'{where}: neither folder nor package. Say folder = "/path/to/the/model".')
    try:
        if "package" in stated:
            return BaseModelEntry(**{**stated, "id": id, "package": PackagedWeights(**stated["package"])})
        folder = (path.parent / Path(stated["folder"]).expanduser()).resolve()
        return BaseModelEntry(**{**_facts(folder), **stated, "id": id, "folder": folder})
    except (TypeError, OSError, ValueError) as error:
        raise CatalogueError(f"{where}: {error}") from error


def _facts(folder: Path) -> dict[str, Any]:
    """What the folder itself tells: name, context length, parameters, type."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}. Mend the path, or remove the line.")
    if missing := [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]:
        raise ValueError(f"{folder} has no {' and no '.join(missing)}; expected a Hugging Face model folder.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text_config = config.get("text_config", config)
    return {
        "display_name": folder.name,
        "model_type": config.get("model_type", ""),
        "context_length": int(text_config.get("max_position_embeddings", 2048)),
        "parameter_count": count_parameters(folder),
    }


def count_parameters(folder: Path) -> int:
    """Elements of all tensors in the folder's safetensors files, from their headers alone.

    The format: 8 bytes, little endian, the header's length; then JSON, a {dtype, shape, data_offsets} a
    tensor.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} has no .safetensors file; save the model again with safetensors.")
    total = 0
    for file in files:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for extent in tensor["shape"]:
                    size *= extent
                total += size
    return total
