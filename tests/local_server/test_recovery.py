"""kill -9 at any instant, and start again: nothing lost, nothing left running. Real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local_server.children import end_orphans


class Process:
    """The server as its own process, as `python -m local_server` starts it."""

    def __init__(self, home, scripted):
        training, generation = (" ".join(command) for command in scripted)
        self._log = (home / "server.log").open("ab")
        command = [
            "--home",
            str(home),
            "--port",
            "0",
            "--jobs-at-once",
            "1",
            "--training-command",
            training,
            "--generation-command",
            generation,
        ]
        self._process = subprocess.Popen([sys.executable, "-m", "local_server", *command], stderr=self._log)
        self.url = self._wait(home / "server.log")

    def _wait(self, log):
        start = log.stat().st_size if log.exists() else 0
        for _ in range(12000):
            for line in log.read_text()[max(0, start - 300) :].splitlines():
                url = line.partition("local server on ")[2].partition(",")[0]
                if url and self._answers(url):
                    return url
            time.sleep(0.01)
        raise AssertionError(log.read_text())

    @staticmethod
    def _answers(url):
        try:
            return httpx.get(f"{url}/health").is_success
        except httpx.TransportError:
            return False

    def end(self, number):
        self._process.send_signal(number)
        self._process.wait(120)
        self._log.close()


@pytest.fixture
def run_server(tmp_path, hollow_model, scripted_children):
    started = []
    home = tmp_path / "home"
    home.mkdir()
    (home / "models.toml").write_text(f'tiny = "{hollow_model}"\n')

    def start():
        started.append(Process(home, scripted_children))
        return started[-1]

    start.home = home
    yield start
    for process in started:
        if process._process.poll() is None:
            process.end(signal.SIGKILL)


def gone(pid):
    """Whether a process has ended; one that waits for its parent to notice counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(holds):
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lines(home, job):
    file = home / "jobs" / job / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_killed_servers_jobs_go_on_and_no_child_outlives_it(run_server, connect, rows_for):
    server = run_server()
    api = connect(server.url)
    dataset = api.dataset("d", rows_for("!steps=10 pause=0.2"))
    api.job("a", dataset), api.job("b", dataset)
    wait_until(lambda: len(lines(run_server.home, "a")) >= 3)
    child = lines(run_server.home, "a")[0]["pid"]
    server.end(signal.SIGKILL)
    wait_until(lambda: gone(child))
    before = len(lines(run_server.home, "a"))

    api = connect(run_server().url)
    assert api.until("dpoJobs/b", lambda body: body["state"] == "JOB_STATE_COMPLETED", seconds=60)
    assert api("GET", "dpoJobs/a")["state"] == "JOB_STATE_COMPLETED"
    steps = [line["step"] for line in lines(run_server.home, "a")]
    # from the last checkpoint: at most the step that was under way is done twice
    assert steps[:before] == list(range(1, before + 1))
    assert steps[before:] in (list(range(before, 11)), list(range(before + 1, 11)))
    assert [model["name"][-1] for model in api("GET", "models")["models"]] == ["a", "b"]


def test_a_server_that_is_asked_to_end_leaves_its_jobs_for_the_next(run_server, connect, rows_for):
    server = run_server()
    api = connect(server.url)
    api.job("a", api.dataset("d", rows_for("!steps=6 pause=0.2")))
    wait_until(lambda: lines(run_server.home, "a"))
    child = lines(run_server.home, "a")[0]["pid"]
    server.end(signal.SIGTERM)
    assert gone(child)
    api = connect(run_server().url)
    assert api.ended("a")["state"] == "JOB_STATE_COMPLETED"


def test_half_an_upload_is_gone_after_a_kill(run_server, connect):
    server = run_server()
    api = connect(server.url)
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 1}})
    sizes = {"filenameToSize": {"a.jsonl": 10_000_000}}
    (url,) = api("POST", "datasets/d:getUploadEndpoint", json=sizes)["filenameToSignedUrls"].values()
    incoming = run_server.home / "incoming"

    def body():
        yield b" " * 1_000_000
        wait_until(lambda: any(path.stat().st_size for path in incoming.iterdir()))
        server.end(signal.SIGKILL)
        yield b" " * 9_000_000

    headers = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": "10000000,10000000"}
    with pytest.raises(httpx.TransportError):
        httpx.put(url, content=body(), headers={**headers, "Content-Length": "10000000"})
    assert len(list(incoming.iterdir())) == 1
    api = connect(run_server().url)
    assert list(incoming.iterdir()) == []
    assert api("GET", "datasets/d")["state"] == "UPLOADING"
    again = url.replace(server.url, str(api.http.base_url).rstrip("/"))  # signed URLs stay good over a restart
    assert httpx.put(again, content=b" " * 10_000_000, headers=headers).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_deployment_that_had_a_replica_is_warmed_again(run_server, connect, number):
    server = run_server()
    api = connect(server.url)
    api.deployment("base")
    api.served("accounts/local/deployments/base")
    server.end(number)
    api = connect(run_server().url)
    api.until("deployments/base", lambda body: body["replicaCount"] == 1)
    assert api.chat("accounts/local/deployments/base").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_answer_under_way_ends_with_the_server_without_a_traceback(run_server, connect, number):
    server = run_server()
    api = connect(server.url)
    api.deployment("base")
    api.served("accounts/local/deployments/base")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.chat, "accounts/local/deployments/base", "!slow=600")
        api.until("quotas", lambda body: any(q["usage"] and "chat" in q["name"] for q in body["quotas"]))
        server.end(number)
        assert (answer.result(120).status_code, "stopping" in answer.result().text) == (503, True)
    log = (run_server.home / "server.log").read_text()
    assert "Traceback" not in log
    assert list((run_server.home / "children").iterdir()) == []


def test_a_cancel_that_was_under_way_is_done(run_server, connect, rows_for):
    server = run_server()
    api = connect(server.url)
    api.job("a", api.dataset("d", rows_for("!hang")))
    api.until("dpoJobs/a", lambda body: body["state"] == "JOB_STATE_RUNNING")
    api("POST", "dpoJobs/a:cancel", json={})
    server.end(signal.SIGKILL)
    assert connect(run_server().url)("GET", "dpoJobs/a")["state"] == "JOB_STATE_CANCELLED"


def test_an_orphan_is_ended_and_a_stranger_with_its_pid_is_not(tmp_path):
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        with open(f"/proc/{orphan.pid}/stat") as file:
            started = file.read().rsplit(")", 1)[1].split()[19]
        (tmp_path / str(orphan.pid)).write_text(started)
        (tmp_path / str(stranger.pid)).write_text("1")
        assert end_orphans(tmp_path) == 1
        assert orphan.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (orphan, stranger):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
