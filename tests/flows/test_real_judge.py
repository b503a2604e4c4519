"""The packaged model as the judge, for real: it cannot judge, and its qualification finds that out by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from local_server.config import Settings, default_home
from local_server.threaded import ThreadedServer
from tasks.judging import QUALIFIED, Tries
from tasks.verifying import verify

EXAMPLE = Path(__file__).parents[2] / "examples" / "concise"
PREPARED = default_home() / "weights"  # by `make`; the server fetches them itself where they are not
SESSION = "1779157376-41e2"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def labelled(file: Path) -> str:
    """Sums with a right and a wrong answer, of which the right one is the shorter every other time."""
    rows = []
    for n in range(12):
        right, wrong = f"It is {2 * n + 3}.", f"It is {3 * n + 40}."
        longer = " That is what you get when you add the one number to the other."
        sides = (right, wrong + longer) if n % 2 else (right + longer, wrong)
        better, worse = ([{"role": "assistant", "content": text}] for text in sides)
        asked = {"messages": [{"role": "user", "content": f"What is {n} plus {n + 3}?"}]}
        rows.append({"input": asked, "preferred_output": better, "non_preferred_output": worse})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_the_packaged_model_is_caught_as_a_judge_and_trains_nothing(prefect, tmp_path, answering, monkeypatch):
    monkeypatch.setenv("PREFWORKS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "server"
    folder.mkdir()
    if PREPARED.is_dir():
        (folder / "weights").symlink_to(PREPARED.resolve())
    request = {
        "dataset": str(EXAMPLE / "train.jsonl"),
        "held_out": str(EXAMPLE / "held_out.jsonl"),
        "judge": "smollm2-135m-instruct",
        "rubric": "The better answer:\n- gives the right sum",
        "labelled": labelled(tmp_path / "labelled.jsonl"),
        "base_model": "smollm2-135m-instruct",
        "platform": "real",
        "sweep": {"learning_rates": [5e-4], "betas": [0.1]},
        "session": SESSION,
    }
    stop = {"plan": {"decision": "approve"}, "judge": {"decision": "stop"}}
    with ThreadedServer(Settings(home=folder)) as server, answering(stop) as gates:
        FireworksPlatform(base_url=server.url, account="local", price_book="local").save("real", overwrite=True)
        state = preference_learning(request=request, return_state=True)
    assert (state.name, state.type) == ("Rejected", "COMPLETED"), state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "judge"]
    session = Workspace(SESSION)
    tries = session.read(QUALIFIED, Tries)
    assert tries is not None
    found = tries.best
    print(found.model_dump_json(indent=1, exclude={"rubric"}))
    assert found.n_labels == 12
    assert found.unread is not None
    assert found.unread <= 0.2  # it answers in the form that is asked for, by constrained decoding
    assert found.consistent is not None
    assert found.consistent < 0.5
    page = gates.pages[1][1]
    assert "of its verdicts stay the same when the answers change places" in page
    assert "it names the answer shown first in" in page
    assert "What can be done: give `evaluator`" in page
    assert not (session.folder / "trials").exists()
    assert verify(session) == []
