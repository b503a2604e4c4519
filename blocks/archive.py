"""Evaluator archives: <folder>.tar.gz with the folder's name as the root inside; others' are not trusted."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from blocks.errors import Refused

MAX_PACKED_BYTES = 100 << 20
MAX_UNPACKED_BYTES = 400 << 20
MAX_FILES = 10_000

# what eval-protocol leaves out of an evaluator's archive; all that begins with a dot, such as .env, too
_LEFT_OUT = {"venv", "env", "build", "dist", "node_modules", "__pycache__"}
_LEFT_OUT_SUFFIXES = {".pyc", ".log", ".egg-info"}
_OF_ITS_OWN = "An evaluator's folder goes along whole: give its code a folder of its own, without data."


def pack(folder: Path, target: Path) -> Path:
    """The folder as an archive that depends on nothing but names and contents."""
    root = folder.resolve().name
    with (
        target.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in _sources(folder):
            info = tarfile.TarInfo(f"{root}/{path.relative_to(folder).as_posix()}")
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
    if target.stat().st_size > MAX_PACKED_BYTES:
        raise Refused(f"{folder} packs to more than {MAX_PACKED_BYTES >> 20} MB. {_OF_ITS_OWN}")
    return target


def _sources(folder: Path) -> list[Path]:
    """The files that are packed, in order. What is left out is not even walked through: it may be large."""
    found: list[Path] = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_left_out(name)]
        found += [Path(path, name) for name in names if not _is_left_out(name)]
        if len(found) > MAX_FILES:
            raise Refused(f"{folder} holds more than {MAX_FILES:,} files. {_OF_ITS_OWN}")
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or name.startswith(".") or Path(name).suffix in _LEFT_OUT_SUFFIXES


def unpack(packed: Path, folder: Path) -> Path:
    """Unpack into the folder; the project's root. Checked whole before the first byte is written."""
    folder = folder.resolve()
    try:
        with tarfile.open(packed, "r:*") as tar:
            members = _checked(tar)
            for member in members:
                _write(tar, member, folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, (PermissionError, FileExistsError)):
            raise
        raise Refused(f"{packed.name} is not a whole tar archive: {error}.") from error
    roots = {PurePosixPath(m.name).parts[0] for m in members}
    only = next(iter(roots)) if len(roots) == 1 else ""
    return folder / only if only and (folder / only).is_dir() else folder


def _checked(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The files of an archive that may be unpacked. Read one by one, since a bomb's list is a bomb, too."""
    members: list[tarfile.TarInfo] = []
    total = 0
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise Refused(f"the archive holds a path that leaves its folder: {member.name!r}.")
        if not member.name.isprintable():  # half a character, a line break
            raise Refused(f"the archive holds a name that cannot be shown: {member.name!r}.")
        if not (member.isfile() or member.isdir()):
            raise Refused(f"the archive holds something else than files and folders: {member.name!r}.")
        total += member.size
        if total > MAX_UNPACKED_BYTES or len(members) >= MAX_FILES:
            raise Refused(f"the archive unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB or {MAX_FILES} files.")
        if path.parts and member.isfile():
            members.append(member)
    if not members:
        raise Refused("the archive holds no files.")
    files = {PurePosixPath(member.name) for member in members}
    if both := sorted(str(folder) for path in files for folder in path.parents if folder in files):
        raise Refused(f"the archive holds {both[0]!r} as a file and as a folder.")
    return members


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder) or target.is_symlink():
        raise Refused(f"{member.name!r} would be written outside {folder}.")
    source = tar.extractfile(member) or io.BytesIO()
    with source, target.open("wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)


def write_files(files: Mapping[str, str], folder: Path) -> Path:
    """{relative path: text} as files of the folder."""
    for name, text in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
            raise Refused(f"the evaluator holds a path that leaves its folder: {name!r}.")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder
