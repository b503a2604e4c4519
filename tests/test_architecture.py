"""The house: flows → tasks → blocks → preference ← local_server, and HTTP alone between blocks and local_server."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "preference": set(),
    "local_server": {"preference"},
    "blocks": {"preference"},
    "tasks": {"preference", "blocks"},
    "flows": {"preference", "blocks", "tasks"},
}
NOT_IN_THE_RULES = {"prefect", "httpx", "aiohttp", "requests", "torch", "transformers", "trl", "time", "socket"}


def imports(file: Path) -> set[str]:
    """Top-level names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    wrong = {
        str(file.relative_to(ROOT)): sorted(imports(file) & forbidden)
        for file in (ROOT / package).rglob("*.py")
        if imports(file) & forbidden
    }
    assert not wrong


def test_the_rules_know_no_prefect_no_network_no_clock_and_no_torch():
    wrong = {
        file.name: sorted(imports(file) & NOT_IN_THE_RULES)
        for file in (ROOT / "preference").rglob("*.py")
        if imports(file) & NOT_IN_THE_RULES
    }
    assert not wrong


def test_there_is_no_special_case_for_the_local_server_above_the_blocks():
    special = re.compile(r"\bif .*\b(is_)?local\b\s*:|127\.0\.0\.1")
    wrong = [
        f"{file.name}: {line.strip()}"
        for package in ("tasks", "preference")
        for file in (ROOT / package).rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if special.search(line)
    ]
    assert not wrong


def test_the_flow_and_the_client_do_not_load_torch():
    code = "import flows.preference_learning, flows.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
