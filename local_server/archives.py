"""Evaluator archives: a project's folder as <folder>.tar.gz. Looked at here, never unpacked and never run."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

MAX_UNPACKED_BYTES = 512 << 20
MAX_MEMBERS = 10_000
_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?")


def archive_fault(path: Path, entry_point: str | None) -> str | None:
    """Why an uploaded archive cannot be built, or None."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            names = _checked_names(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        return f"the archive is not a readable .tar.gz: {error}"
    except ValueError as error:
        return str(error)
    roots = {name.parts[0] for name in names}
    if len(roots) != 1:
        return f"the archive must hold one root folder, found {len(roots)}: {', '.join(sorted(roots)[:5])}"
    root = roots.pop()
    inside = {str(name.relative_to(root)) for name in names if len(name.parts) > 1}
    if "requirements.txt" not in inside:
        return "requirements.txt is missing at the project's root; it may be empty"
    return _entry_point_fault(entry_point, inside) if entry_point else None


def _checked_names(archive: tarfile.TarFile) -> list[PurePosixPath]:
    """Raises ValueError for what could leave the folder or fill the disk."""
    names, total = [], 0
    for member in archive:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
            raise ValueError(f"the archive holds {member.name!r}, which is no plain file or folder inside its root")
        total += member.size
        names.append(name)
        if total > MAX_UNPACKED_BYTES or len(names) > MAX_MEMBERS:
            raise ValueError(f"the archive unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB or {MAX_MEMBERS} files")
    if not names:
        raise ValueError("the archive is empty")
    return [name for name in names if name.parts]


def _entry_point_fault(entry_point: str, inside: set[str]) -> str | None:
    """entryPoint is path/to/file.py::function or module::function."""
    file, separator, function = entry_point.partition("::")
    if not separator or not _FUNCTION.fullmatch(function):
        return f"entryPoint {entry_point!r} must read path/to/file.py::function"
    path = file if file.endswith(".py") else file.replace(".", "/") + ".py"
    return None if path in inside else f"entryPoint names {path}, which is not in the archive"


def criteria_fault(criteria: list[dict[str, Any]]) -> str | None:
    """Why inline code cannot be built, or None: it must at least be Python."""
    for index, criterion in enumerate(criteria):
        files = (criterion.get("codeSnippets") or {}).get("fileContents") or {}
        if not files:
            return f"criteria[{index}].codeSnippets.fileContents is empty"
        for name, code in files.items():
            if not name.endswith(".py"):
                continue
            try:
                compile(code, name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                return f"criteria[{index}], {name}: {error}"
    return None


def pack_criteria(folder: str, criteria: list[dict[str, Any]], requirements: str) -> bytes:
    """Inline code as the archive that an upload would have been, the same bytes every time."""
    buffer = io.BytesIO()
    files = {"requirements.txt": requirements}
    for criterion in criteria:
        files |= (criterion.get("codeSnippets") or {}).get("fileContents") or {}
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            data = text.encode()
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
