"""An environment of its own for each set of requirements, installed once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from blocks.evaluator_source import EvaluatorSource, copy_source
from blocks.evaluator_tree import EvaluatorError
from blocks.sandbox import Ended, Limits, Program, Sandbox, standard_python
from blocks.sandbox_index import index_settings

_FROM_INDEX = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w., -]*\])?\s*([<>=!~;].*)?")  # a name, a version, a marker
# what installing the largest evaluation library took: 0.5 GB of files, 0.4 GB of memory; builds take more
_LIMITS = Limits(
    total_wall_s=1800, memory_mb=4096, file_mb=8192, n_processes=256, n_open_files=1024, output_kb=65536, network=True
)


def environment_key(source: EvaluatorSource) -> str:
    """A name for what the requirements install on this interpreter; for the source, too, where they are of it."""
    parts = [sys.version, str(standard_python()), *sorted(source.requirements)]
    if not all(_FROM_INDEX.fullmatch(line) for line in source.requirements):
        parts.append(source.sha256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def prepare(source: EvaluatorSource, cache: Path, *, unsandboxed: bool = False) -> Path | None:
    """The environment with the source's requirements: installed the first time, found again afterwards.

    cache: the folder of such environments. pip runs in the sandbox too, with the network, since to build a package
    is to run its code; unsandboxed says that a person accepted it to run without where there is none.
    None where there are no requirements: the standard library is what there is.
    Of two runs that prepare the same one at once, one installs and the other waits.
    Raises EvaluatorError with pip's last lines where a requirement cannot be installed, SandboxRefused where this
    system cannot isolate it.
    """
    if not source.requirements:
        return None
    target = cache.resolve() / environment_key(source)
    done = target.with_suffix(".done")  # beside it, since what was installed may have put anything into it
    if done.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return target
        shutil.rmtree(target, ignore_errors=True)  # an installation that was cut off
        try:
            _install(source, target, replace(_LIMITS, unsandboxed=unsandboxed))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        done.write_text("\n".join(source.requirements) + "\n", encoding="utf-8")
    return target


def _install(source: EvaluatorSource, target: Path, limits: Limits) -> None:
    python = standard_python()
    subprocess.run([python, "-I", "-m", "venv", "--without-pip", target], check=True, capture_output=True, umask=0o022)
    temporary = target / "tmp"
    temporary.mkdir()
    with tempfile.TemporaryDirectory(prefix="install-") as folder:
        own = Path(folder)
        own.chmod(0o755)
        for name in ("code", "scratch"):
            (own / name).mkdir()
        copied = copy_source(source, own / "code" / "source")
        wanted = copied.folder / "all-requirements.txt"  # among the files that it may name
        wanted.write_text("\n".join(source.requirements) + "\n", encoding="utf-8")
        settings = index_settings(own / "code")
        for pip in _pips(target):
            program = Program(
                argv=[*pip, *(["-r", str(wanted)] if "install" in pip else [])],
                readable=[Path(sys.base_prefix), own / "code", *settings.readable],
                scratch=own / "scratch",
                cwd=copied.folder,
                environment={"HOME": str(own / "scratch"), "TMPDIR": str(temporary), **settings.environment},
                kept=[target],
                ours=own,
            )
            _run(program, source, limits)
    shutil.rmtree(temporary, ignore_errors=True)
    if os.geteuid() == 0:  # the sandbox's user is gone
        for folder, names, files in os.walk(target):
            for path in (folder, *(os.path.join(folder, name) for name in (*names, *files))):
                os.lchown(path, 0, 0)


def _pips(target: Path) -> list[list[str]]:
    """What installs: the interpreter's own pip, else one that is put into the environment first."""
    options = ["install", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    python = str(target / "bin" / "python")
    here = [str(standard_python()), "-I", "-m", "pip"]
    if not subprocess.run([*here, "--version"], capture_output=True, check=False).returncode:
        return [[*here, "--python", python, *options]]
    return [[python, "-I", "-m", "ensurepip"], [python, "-I", "-m", "pip", *options]]


def _run(program: Program, source: EvaluatorSource, limits: Limits) -> None:
    def overdue(seconds: float) -> str | None:
        return f"it took longer than {limits.total_wall_s:g} s" if seconds > limits.total_wall_s else None

    with open(os.devnull, "rb") as nothing, Sandbox(program, limits, nothing) as sandbox:
        for _ in sandbox.messages(overdue, max_bytes=1 << 16):
            pass  # pip sends none, and ends with its pipe
        ended = sandbox.ended
    if ended is None or ended.why or ended.status:
        raise EvaluatorError(f"the requirements of {source.name} cannot be installed: {_why(ended)}")


def _why(ended: Ended | None) -> str:
    if ended is None or ended.why:
        return (ended and ended.why) or "pip did not run"
    lines = ended.printed.splitlines()
    return (" ".join([line for line in lines if line.startswith("ERROR")][:3]) or " ".join(lines[-3:]))[:1000]
