"""kill -9 in the middle of real training: the next server goes on from the checkpoint."""

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest

pytestmark = pytest.mark.slow

ROWS = [
    {
        "input": {"messages": [{"role": "user", "content": f"How many are {n}?"}]},
        "preferred_output": [{"role": "assistant", "content": "aaaa"}],
        "non_preferred_output": [{"role": "assistant", "content": "zzzzzzzz"}],
    }
    for n in range(8)
]


@pytest.fixture
def start(tmp_path, tiny_model):
    home, started = tmp_path / "home", []
    home.mkdir()
    (home / "models.toml").write_text(f'tiny = "{tiny_model}"\n')

    def run():
        log = (home / "server.log").open("w+")
        command = [sys.executable, "-m", "local_server", "--home", str(home), "--port", "0"]
        started.append((subprocess.Popen(command, stderr=log), log))
        while "local server on" not in (text := (home / "server.log").read_text()):
            assert started[-1][0].poll() is None, text
            time.sleep(0.05)
        url = text.partition("local server on ")[2].partition(",")[0]
        for _ in range(600):
            try:
                httpx.get(f"{url}/health")
                return started[-1][0], url
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(text)

    run.home = home
    yield run
    for process, log in started:
        process.kill()
        process.wait(30)
        log.close()


def test_training_goes_on_from_its_checkpoint(start, connect):
    process, url = start()
    api = connect(url)
    # no machine is through before the first checkpoint is due, half a minute after the start
    config = {"epochs": 100_000, "batchSizeSamples": 8, "learningRate": 1e-4, "loraRank": 4}
    api.job("j", api.dataset("d", ROWS), trainingConfig=config)
    deadline = time.monotonic() + 240
    while not (saved := list(start.home.glob("jobs/j/checkpoints/checkpoint-*/trainer_state.json"))):
        assert time.monotonic() < deadline, api("GET", "dpoJobs/j")
        time.sleep(0.1)
    at = int(saved[0].parent.name.rpartition("-")[2])
    process.send_signal(signal.SIGKILL)
    process.wait(30)

    _, url = start()
    api = connect(url)
    resumed = api.until("dpoJobs/j", lambda body: body["state"] == "JOB_STATE_RUNNING", seconds=120)
    metrics = start.home / "jobs/j/metrics.jsonl"
    api("POST", "dpoJobs/j:cancel", json={})
    assert api.ended("j")["state"] == "JOB_STATE_CANCELLED", resumed
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))  # no step twice, none left out
    assert len(steps) >= at > 0  # a job begun anew would have dropped the lines of the first one
