"""The flow on Prefect's own server, and somebody who answers its gates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner, Result

from blocks.fireworks import FireworksPlatform
from blocks.judge import JudgeEndpoint
from tests.scripted_judge import ScriptedJudges

ROOT = Path(__file__).resolve().parents[2]

WORDS = (
    "hammer river moon bread violin castle tiger cloud bridge pencil lamp forest ocean clock garden rocket camel "
    "candle mirror desert wheel ladder train ship bottle paper stone spider window carpet eagle piano helmet basket "
    "needle volcano glacier tunnel market harbour"
).split()

RUBRIC = "The better answer:\n- is short\n- is to the point"

EVALUATOR = '''
def evaluate(messages, **kwargs):
    """The scripted generator ends a tuned model's answers in /tuned; better answers of the pairs begin with Short."""
    answer = messages[-1]["content"]
    return {"score": 0.9 if answer.endswith("/tuned") else 0.3 if answer.startswith("Short") else 0.2}
'''


def pair(prompt: str) -> dict:
    return {
        "input": {"messages": [{"role": "user", "content": prompt}]},
        "preferred_output": [{"role": "assistant", "content": f"Short on {prompt}"}],
        "non_preferred_output": [{"role": "assistant", "content": f"A long and winding answer about {prompt}"}],
    }


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=240):  # a busy machine takes its time
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFWORKS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def make_request(tmp_path: Path, home: Path, prefect: None) -> Callable[..., dict]:
    """make_request(url, order="", **fields): a request on 20 held-out prompts; order is the scripted trainer's."""

    def make(url: str, order: str = "!steps=2", *, price_book: str = "local", **fields) -> dict:
        block = "p" + url.rsplit(":", 1)[-1]
        FireworksPlatform(base_url=url, account="local", price_book=price_book).save(block, overwrite=True)
        prompts = [f"Say what a {word} is for" for word in WORDS]
        (tmp_path / "evaluator").mkdir(exist_ok=True)
        (tmp_path / "evaluator" / "judge.py").write_text(EVALUATOR)
        (tmp_path / "evaluator" / "requirements.txt").touch()
        given = {
            "dataset": str(write_rows(tmp_path / "train.jsonl", [pair(p) for p in [order, *prompts[:19]]])),
            "held_out": str(write_rows(tmp_path / "held_out.jsonl", [pair(p) for p in prompts[20:]])),
            "evaluator": str(tmp_path / "evaluator" / "judge.py") + "::evaluate",
            "base_model": "tiny",
            "platform": block,
            "sweep": {"learning_rates": [1e-4], "betas": [0.1], "max_context_length": 512},
            "sampling": {"max_tokens": 16},
            **fields,
        }
        return {"request": given}

    return make


PAUSED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))


class Answerer:
    """Resumes runs that pause from now on with the answers given by gate, and keeps what the gates showed.

    A run that is paused already is another test's, or its process was killed: nobody waits for an answer there.
    """

    def __init__(self, answers: dict[str, list[dict] | dict]) -> None:
        self.answers = {gate: given if isinstance(given, list) else [given] for gate, given in answers.items()}
        self.pages: list[tuple[str, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer_all, daemon=True)

    def __enter__(self) -> Answerer:
        with get_client(sync_client=True) as client:
            self._left = {run.id for run in client.read_flow_runs(flow_run_filter=PAUSED)}
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        self._thread.join()

    def _answer_all(self) -> None:
        with get_client(sync_client=True) as client:
            while not self._stop.wait(0.2):
                for run in client.read_flow_runs(flow_run_filter=PAUSED):
                    if run.id in self._left:
                        continue
                    key = run.state.state_details.pause_key
                    gate = key.split("-")[0]
                    if not self.answers.get(gate):
                        continue
                    try:
                        page = client.read_flow_run_input(run.id, f"paused-{key}-description")
                    except PrefectHTTPStatusError:
                        continue  # Paused comes a moment before the question
                    self.pages.append((gate, page))
                    answer = self.answers[gate].pop(0)
                    while client.resume_flow_run(run.id, run_input=answer).status != SetStateStatus.ACCEPT:
                        time.sleep(0.1)


APPROVE = {
    "plan": {"decision": "approve", "name": "Ada"},
    "comparison": {"decision": "continue"},
    "promotion": {"decision": "approve"},
}


@pytest.fixture
def answering() -> Callable[..., Answerer]:
    return Answerer


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at gates and jobs more often than a real run has to."""
    monkeypatch.setattr("flows.gates.POLL_S", 1)
    monkeypatch.setattr("tasks.training.POLL_S", 0.2)


def shell(*args: str, **more) -> Result:
    """`prefworks ARGS` in this process, on the Prefect server of the tests."""
    from flows.cli import app

    return CliRunner().invoke(app, list(args), **more)


@pytest.fixture
def session_command(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """session_command("events", ID, ...) is `prefworks session events ID ...`; our flow is deployed."""
    from flows.preference_learning import preference_learning

    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    preference_learning.to_deployment("preference-learning").apply()
    return lambda *args, **more: shell("session", *args, **more)


@pytest.fixture
def create_session(local_server, make_request, session_command, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """create_session(order, *options): what `session create --json` says of a request on the scripted server."""

    def create(order: str = "!steps=2", *options: str, **fields) -> dict[str, str]:
        file = tmp_path / "request.yaml"
        file.write_text(yaml.safe_dump(make_request(local_server.url, order, **fields)["request"]))
        result = session_command("create", "--request", str(file), "--json", *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return create


@pytest.fixture
def work() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """work(flow_run): the run in a process of its own, as a worker would do it; ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(flow_run: str) -> subprocess.Popen[bytes]:
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        command = [sys.executable, "-m", "flows.execute", flow_run]
        processes.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.wait(60)


@pytest.fixture
def better() -> Callable[[str, str, str], bool | None]:
    """What the judges find better: the tuned model's answers, and the shorter ones of the training pairs."""

    def first_is(conversation: str, one: str, other: str) -> bool | None:
        if one.endswith("/tuned") or other.endswith("/tuned"):
            return None if one.endswith("/tuned") and other.endswith("/tuned") else one.endswith("/tuned")
        return one.startswith("Short on")

    return first_is


@pytest.fixture
def judges(better):
    served = ScriptedJudges(better)
    yield served
    served.stop()


@pytest.fixture
def make_judged(make_request, judges):
    """make_judged(url, model, **fields): a request whose judge is one of the scripted ones, saved under its name."""

    def make(url: str, model: str, **fields) -> dict:
        free = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}
        judge = JudgeEndpoint(base_url=judges.url, model=model, read_timeout_s=0.3, patience_s=0.5, **free)
        judge.save(model, overwrite=True)
        return make_request(url, evaluator="", **{"judge": model, "rubric": RUBRIC, **fields})

    return make


@pytest.fixture
def many_held_out(tmp_path: Path) -> str:
    """A file of 80 prompts about two things each, of which 40 choose."""
    prompts = [f"Say how a {a} and a {b} differ" for a, b in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)]
    prompts += [f"Compare the {a} with the {b}" for a, b in zip(WORDS, WORDS[7:] + WORDS[:7], strict=True)]
    return str(write_rows(tmp_path / "many.jsonl", [pair(p) for p in prompts]))
