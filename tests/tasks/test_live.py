from preference.wire import DpoJob
from tasks.live import progress_text, share_done


def job(state: str) -> DpoJob:
    return DpoJob(dataset="d", state=state)


LINE = {"step": 12, "total_steps": 48, "dpo_loss": 0.51234, "accuracy": 0.75, "margin": 0.4}


def test_a_trial_s_line_has_state_step_loss_accuracy_margin_time_left_and_spend():
    running = job("JOB_STATE_RUNNING")
    share = share_done(running, LINE)
    assert share == 0.25
    assert progress_text(running, LINE, share, 600.0, 8.0) == (
        "running, step 12 of 48, loss 0.5123, reward accuracy 0.75, margin 0.4, about 10 min left, 2.00 USD so far"
    )


def test_what_is_not_known_is_not_said_and_an_unknown_price_is_said_to_be_unknown():
    assert progress_text(job("JOB_STATE_PENDING"), {}, 0.0, None, None) == "pending, spend unknown"


def test_a_job_that_has_ended_well_is_done_whatever_its_last_line_says():
    done = job("JOB_STATE_COMPLETED")
    assert share_done(done, LINE) == 1.0
    assert "left" not in progress_text(done, LINE, 1.0, 600.0, 8.0)
    assert "8.00 USD so far" in progress_text(done, LINE, 1.0, 600.0, 8.0)
