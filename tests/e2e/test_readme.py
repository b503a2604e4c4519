"""Every command of the README and the docs, as it stands there, in a new clone with a home of its own.

The clone's .venv is a link to ours, so that what `make` installs first is there already; where the lock files differ
from what ours was installed from, the test fails rather than change it. What is not run as it stands:

- `make test` would run itself: only what it would do is looked at. CI runs it.
- `--base-url https://api.fireworks.ai` becomes the local server's address, since a test has no account.
- the notifications' addresses are of nobody.
- `pip install torch ...` needs the network: its version and index are held to the lock file and the installer's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.services import free_port
from scripts import install

ROOT = Path(__file__).resolve().parents[2]
SESSION = re.compile(r"\b\d{10}-[0-9a-f]{4}\b")
SAID = {"prefworks run ": "reject\n", "session clean ": "y\n"}  # by whoever sits at the terminal
ENDS_WITH = {"events <id> --wait": 3}  # it waits for an answer
MINUTES = 75  # two demos, on a processor that does not multiply bfloat16


def blocks(page: str) -> list[list[str]]:
    """The commands of each shell block, without their comments."""
    found = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)
    lines = [[re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines()] for block in found]
    return [[line for line in block if line] for block in lines]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A new clone of what is committed here, and what a new user's shell has in it; nothing is left running."""
    clone = tmp_path / "prefworks"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    for name, lock in install.LOCKS.items():
        stamp = Path(sys.prefix) / f"installed-{name}"
        digest = install.digest(clone / lock.name, clone / "pyproject.toml")
        assert stamp.read_text() == digest, f"{sys.prefix} is not what {lock.name} says: run this by `make test-slow`"
    (clone / ".venv").symlink_to(Path(sys.prefix).resolve())
    given = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PREFWORKS_", "MAKE", "MFLAGS"))}
    given |= {
        "PYTHONPATH": str(clone),  # before the folder that our .venv was installed from
        "HOME": str(tmp_path),
        "PREFECT_PORT": str(free_port(0)),
        "LOCAL_SERVER_PORT": str(free_port(0)),
        "FIREWORKS_API_KEY": "fw_of_nobody",
        "PREFWORKS_NOTIFY_URL": "https://hooks.slack.com/services/T0/B0/nobody",
        "PREFWORKS_SMTP_PASSWORD": "of nobody",
        "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PWD": str(clone),
    }
    yield given
    subprocess.run(["make", "down"], cwd=clone, env=given, check=True)


@pytest.mark.slow
@pytest.mark.demo
@pytest.mark.timeout(60 * MINUTES)
def test_every_command_of_the_readme_and_the_docs_does_what_it_says(environment):
    demo = ""
    for block in [*blocks("README.md"), *blocks("docs/team.md")]:
        session = demo  # in a block that creates none, <id> is the demo's
        for command in block:
            if command.startswith("pip install"):
                continue
            done = run(command, session, environment)
            if command.startswith("make demo"):
                made = SESSION.findall(done.stdout)[-1]
                assert f"sessions/{made}/final_report.md" in done.stdout
                demo = demo or made
            if "session create" in command:
                [session] = SESSION.findall(done.stdout)
            if "session report" in command:
                assert "## " in done.stdout


def run(command: str, session: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    told = command.replace("<id>", session).replace("make test", "make --dry-run test")
    told = told.replace("https://api.fireworks.ai", f"http://127.0.0.1:{environment['LOCAL_SERVER_PORT']}")
    done = subprocess.run(
        ["bash", "-c", told],
        cwd=environment["PWD"],
        env=environment,
        input=next((said for part, said in SAID.items() if part in command), ""),
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = next((code for part, code in ENDS_WITH.items() if part in command), 0)
    assert done.returncode == wanted, f"{told} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def test_what_the_readme_says_of_pytorch_is_what_is_installed():
    [[torch, rest]] = [block for block in blocks("README.md") if block[0].startswith("pip install")]
    version = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("torch=="))
    assert torch == f"pip install {version} --index-url {install.CPU_INDEX}"
    assert rest == "pip install -r requirements.lock && pip install --no-deps -e ."


def test_no_other_page_has_a_command_that_no_test_runs():
    pages = [page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]]
    assert {page for page in pages if blocks(page)} == {"README.md", "docs/team.md", "CONTRIBUTING.md"}
    assert blocks("CONTRIBUTING.md") == [["make check", "make test", "make test-slow"]]  # which are CI's own
    assert "make check\nmake test\nmake test-slow" in (ROOT / ".ci" / "run").read_text()
