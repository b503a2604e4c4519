import pytest

from preference.cost import load_price_book
from preference.halving import halving_text, n_kept, part_of, priced_jobs, rung_jobs, rungs_for
from preference.plan import PlanRefused, trial_line
from preference.plan_lines import TRAINING, evaluation_starts
from preference.plan_page import plan_markdown
from preference.settings_sweep import Strategy
from tests.preference.test_bases import bases, data, plan

EIGHT = {"learning_rates": [1e-5, 2e-5, 3e-5, 4e-5], "betas": [0.1, 0.3]}


def test_auto_takes_the_grid_for_few_trials_and_for_whatever_the_request_spells_out():
    auto = Strategy.AUTO
    assert rungs_for(auto, 6, 1000, explicit=False, makes_pairs=False) == ()
    assert rungs_for(auto, 9, 1000, explicit=True, makes_pairs=False) == ()
    assert rungs_for(auto, 9, 1000, explicit=False, makes_pairs=False) == (0.25, 0.5)
    assert rungs_for(auto, 9, 20, explicit=False, makes_pairs=False) == ()
    assert rungs_for(Strategy.GRID, 9, 1000, explicit=False, makes_pairs=False) == ()
    assert rungs_for(Strategy.HALVING, 4, 1000, explicit=True, makes_pairs=False) == (0.25, 0.5)


def test_halving_that_cannot_be_is_refused_with_the_reason():
    with pytest.raises(PlanRefused, match=r"strategy halving needs at least 4 trials .* here are 2 trials"):
        plan(bases(small=data()), base_model="small", sweep={"betas": [0.1, 0.3]}, strategy="halving")


def test_the_plan_prices_the_rungs_and_states_the_saving():
    grid = plan(bases(small=data()), base_model="small", sweep=EIGHT)
    made = plan(bases(small=data()), base_model="small", sweep=EIGHT, strategy="halving")
    assert made.rungs == [0.25, 0.5]
    assert made.lines[0].what == TRAINING
    assert made.lines[0].usd == pytest.approx(grid.lines[0].usd * 6 / 8)  # 8/4 + 4/2 + 2
    assert made.lines[0].quantity.startswith("14 jobs")
    # each rung has a deployment of its own, which costs nothing while the next one trains
    assert evaluation_starts(made.request, 8, made.bases, 3) == 3 * evaluation_starts(grid.request, 8, grid.bases)
    page = plan_markdown(made)
    assert (
        "Successive halving: 8 trials on 25% of the pairs, 4 trials on 50% of the pairs, the best 2 on all, each "
        "trained anew: 6 full trainings instead of 8 (25% less), and more models to evaluate."
    ) in page
    assert len(made.trials) == 8
    assert len(made.jobs) == 24  # whoever gets that far can be found and cancelled
    first = made.jobs[0]
    assert (first.name, first.job_id.rsplit("-", 2)[1:]) == ("t1-r1", ["t1", "r1"])
    assert trial_line(made, first).usd == pytest.approx(trial_line(made, made.trials[0]).usd / 4)


def test_what_is_priced_is_the_dearest_that_can_come():
    trials = plan(bases(small=data()), base_model="small", sweep={**EIGHT, "epochs": [1, 3]}).trials
    jobs = priced_jobs("1779157376-41e1", trials, [0.25, 0.5])
    assert [sum(job.share == share for job in jobs) for share in (0.25, 0.5, 1)] == [16, 8, 4]
    assert {job.epochs for job in jobs if job.share > 0.25} == {3}
    assert priced_jobs("1779157376-41e1", trials, []) == trials
    assert len(rung_jobs("1779157376-41e1", trials, [])) == 0


def test_an_odd_number_keeps_the_larger_half():
    assert [n_kept(n) for n in (9, 5, 3, 2)] == [5, 3, 2, 1]
    assert "the best 3 on all" in halving_text(9, (0.25, 0.5))


def test_the_rows_of_a_rung_are_among_those_of_the_next_whatever_the_order():
    lines = [f"row {i}\n".encode() for i in range(40)]
    quarter, half = part_of(lines, 0.25), part_of(lines, 0.5)
    assert (len(quarter), len(half)) == (10, 20)
    assert set(quarter) < set(half)
    assert set(part_of(lines[::-1], 0.25)) == set(quarter)
    assert load_price_book("local").model_sweep.models == []
