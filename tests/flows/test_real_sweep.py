"""Six real DPO trials of the packaged model, twice: the evaluator ranks them the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from local_server.config import Settings, default_home
from local_server.threaded import ThreadedServer
from preference.standings import Comparison
from tasks.training import TrainedTrial

EXAMPLE = Path(__file__).parents[2] / "examples" / "concise"
PREPARED = default_home() / "weights"  # by `make`; the server fetches them itself where they are not
SESSION = "1779157376-41e1"  # the jobs' IDs come from it, and their seeds from these
N_PAIRS, N_HELD_OUT = 48, 24
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def head(file: Path, n: int, target: Path) -> str:
    target.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:n]), encoding="utf-8")
    return str(target)


def six_trials(folder: Path, answering) -> tuple[Comparison, list[list[float]]]:
    """The comparison, and each trial's losses."""
    folder.mkdir()
    if PREPARED.is_dir():
        (folder / "weights").symlink_to(PREPARED.resolve())
    request = {
        "dataset": head(EXAMPLE / "train.jsonl", N_PAIRS, folder / "train.jsonl"),
        "held_out": head(EXAMPLE / "held_out.jsonl", N_HELD_OUT, folder / "held_out.jsonl"),
        "evaluator": f"{EXAMPLE / 'evaluator' / 'concise.py'}::evaluate",
        "base_model": "smollm2-135m-instruct",
        "platform": "real",
        "sweep": {"learning_rates": [1e-4, 5e-4, 1e-3], "betas": [0.1, 0.3], "lora_ranks": [16], "batch_size": 8},
        "sampling": {"max_tokens": 48},
        "session": SESSION,
    }
    with ThreadedServer(Settings(home=folder)) as server, answering(YES):
        FireworksPlatform(base_url=server.url, account="local", price_book="local").save("real", overwrite=True)
        state = preference_learning(request=request, return_state=True)
    assert state.name == "NotPromoted", state.message
    workspace = Workspace(SESSION)
    comparison = workspace.read("comparison.json", Comparison)
    assert comparison is not None
    trials = [workspace.read(f"trials/t{n}/result.json", TrainedTrial) for n in range(1, 7)]
    return comparison, [[line["dpo_loss"] for line in trial.metrics] for trial in trials if trial]


def test_the_ranking_of_six_real_trials_is_repeatable(prefect, tmp_path, answering, monkeypatch):
    monkeypatch.setenv("PREFWORKS_HOME", str(tmp_path / "one"))
    first, first_losses = six_trials(tmp_path / "server-one", answering)
    monkeypatch.setenv("PREFWORKS_HOME", str(tmp_path / "two"))
    again, again_losses = six_trials(tmp_path / "server-two", answering)

    assert len(first_losses) == 6
    assert all(abs(losses[0] - 0.693) < 0.02 for losses in first_losses)
    for losses, others in zip(first_losses, again_losses, strict=True):
        assert losses == pytest.approx(others, abs=1e-4)
    assert [s.contestant.name for s in first.candidates] == [s.contestant.name for s in again.candidates]
    assert [s.score.value for s in first.candidates] == [s.score.value for s in again.candidates]
    assert len({s.score.value for s in first.candidates}) > 1  # there is something to rank
