"""Write the lock files from what is installed in .venv: `.venv/bin/python scripts/lock.py`, after all tests passed."""

from __future__ import annotations

import importlib.metadata as metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"prefworks", "pip", "setuptools", "wheel"}


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    run = closure([*project["dependencies"], *extras["local"]])
    dev = closure(extras["dev"]) - run
    write("requirements.lock", run, "what `make demo` and `make up` install: prefworks[local]")
    write("requirements-dev.lock", dev, "what `make test` installs on top")


def closure(requirements: list[str]) -> set[str]:
    """Names of all distributions that these need, as installed here."""
    found: set[str] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if name in found or name in SKIPPED:
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                todo.append(needed)
    return found


def write(file: str, names: set[str], what: str) -> None:
    lines = [f"# The exact set that was tested; {what}. Written by scripts/lock.py."]
    # a local label such as +cpu says where a wheel came from, not which release it is
    lines += [f"{name}=={re.sub(r'[+].*', '', metadata.version(name))}" for name in sorted(names)]
    (ROOT / file).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
