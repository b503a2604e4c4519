"""`prefworks serve` is the server itself, so that nothing is left when it ends."""

import signal
import subprocess
import sys

import pytest

PREFWORKS = [sys.executable, "-c", "from flows.cli import main; main()", "serve"]


def test_its_help_is_the_servers():
    shown = subprocess.run([*PREFWORKS, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: prefworks serve")
    assert "PREFWORKS_LOCAL_KEY" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_says_nothing(tmp_path, number):
    command = [*PREFWORKS, "--home", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert "local server on http://127.0.0.1:" in process.stderr.readline()
        assert (tmp_path / "lock").read_text() == str(process.pid)
        process.send_signal(number)
        rest = process.stderr.read()
    assert "Traceback" not in rest
    assert process.returncode in (0, -number)
