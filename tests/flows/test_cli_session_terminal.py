"""`prefworks session events ID --wait` at a terminal, which asks there; the worker is a process of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from blocks.workspace import Workspace
from tests.flows.conftest import ROOT

pytestmark = pytest.mark.slow

AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """What a command shows at a terminal of its own, and somebody who types there."""

    def __init__(self, *args: str) -> None:
        command = [sys.executable, "-c", AT_A_TERMINAL, sys.executable, "-m", "flows.cli", "session", *args]
        environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while said := os.read(self.process.stdout.fileno(), 65536):
            self.shown += said.decode(errors="replace")

    def types(self, text: str, *, after: str) -> None:
        """Once the terminal shows `after`."""
        deadline = time.monotonic() + 120
        while after not in self.shown:
            assert self.process.poll() is None, self.shown
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.1)
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def ends(self) -> int:
        return self.process.wait(120)


@pytest.fixture
def at_terminal(session_command) -> Iterator[Callable[..., Terminal]]:
    """at_terminal("events", ID, "--wait") is `prefworks session events ID --wait` at a terminal."""
    opened: list[Terminal] = []

    def begin(*args: str) -> Terminal:
        opened.append(Terminal(*args))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait()
        terminal.process.stdin.close()
        terminal.process.stdout.close()


def test_it_asks_at_the_terminal_and_ctrl_c_leaves_the_session_as_it_is(
    create_session, work, session_command, at_terminal
):
    made = create_session("!steps=40 pause=0.2")
    session = made["session"]
    process = work(made["flow_run"])

    first = at_terminal("events", session, "--wait")
    first.types("a\n", after="Decision: approve / change / reject? ")
    first.types(CTRL_C, after="[3 sweep] t1: step ")
    assert (first.ends(), first.shown.count("Plan: tune")) == (130, 1), first.shown
    assert process.poll() is None

    second = at_terminal("events", session, "--wait")
    second.types(CTRL_C, after="Decision: continue / promote / stop? ")
    assert second.ends() == 130, second.shown
    assert f"Nothing was answered; session {session} waits." in second.shown
    third = at_terminal("events", session, "--wait")
    third.types(CTRL_D, after="Decision: continue / promote / stop? ")
    assert third.ends() == 3, third.shown
    assert f"{session}: waiting at the comparison gate (" in third.shown
    assert json.loads(session_command("get", session, "--json").stdout)["state"] == "waiting"

    last = at_terminal("events", session, "--wait")
    last.types("s\n", after="Decision: continue / promote / stop? ")
    assert last.ends() == 0, last.shown
    assert f"{session}: not_promoted " in last.shown
    answers = [line["answer"]["decision"] for line in Workspace(session).lines("approvals.jsonl")]
    assert answers == ["approve", "stop"]
    assert process.wait(60) == 0
