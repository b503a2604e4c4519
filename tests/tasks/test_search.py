"""Where a search ends before all of its trials are drawn."""

from __future__ import annotations

import pytest

from blocks.workspace import Workspace
from preference.targets import Stopped
from preference.trials import Trial
from tasks.judged_sweep import JudgedSweep
from tasks.search import DRAWS, batches
from tasks.training import NOT_STARTED, STOPPED, TrainedTrial
from tests.preference.test_bases import SESSION
from tests.preference.test_search import searched


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(SESSION, tmp_path)


def sweep_of(workspace: Workspace) -> JudgedSweep:
    return JudgedSweep(workspace, searched(n_trials=8, max_active_jobs=4), None, [])  # nothing is judged here


def failed(trial: Trial) -> TrainedTrial:
    return TrainedTrial(trial=trial, job_state="JOB_STATE_FAILED", message="out of memory")


def test_after_a_batch_without_a_model_nothing_more_is_drawn(workspace):
    sweep = sweep_of(workspace)
    drawn = []
    for batch in batches(workspace, searched(n_trials=8, max_active_jobs=4), sweep):
        assert (workspace.folder / DRAWS).exists()  # before any job is asked for
        drawn += batch
        sweep.ended |= {trial.name: failed(trial) for trial in batch}
    assert [trial.name for trial in drawn] == ["t1", "t2", "t3", "t4"]
    assert list(sweep.ended) == [f"t{n}" for n in range(1, 9)]
    left = workspace.read("trials/t8/result.json", TrainedTrial)
    assert (left.job_state, left.message) == (NOT_STARTED, "not drawn: all 4 trials before it have failed")
    assert left.trial.label == "not drawn"


def test_a_session_that_goes_on_after_a_stop_keeps_what_was_drawn_and_draws_nothing_more(workspace):
    plan = searched(n_trials=8, max_active_jobs=4)
    first = next(iter(batches(workspace, plan, sweep_of(workspace))))
    workspace.write(STOPPED, Stopped(candidate="t2", reason="t2 is known to reach the target"))
    sweep = sweep_of(workspace)
    for batch in batches(workspace, plan, sweep):
        assert batch == first
        sweep.ended |= {trial.name: failed(trial) for trial in batch}
    told = "not drawn: stopped early: t2 is known to reach the target"
    assert [sweep.ended[f"t{n}"].message for n in (4, 5)] == ["out of memory", told]
    assert not (workspace.folder / "trials" / "t4").exists()  # its result is its job's, written elsewhere
