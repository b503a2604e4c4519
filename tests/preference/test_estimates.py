from preference.cost import CostLine
from preference.estimates import errors_text, estimate_errors


def line(what: str, usd: float | None, seconds: float = 0.0) -> CostLine:
    return CostLine(what=what, quantity="", usd_low=usd, usd=usd, usd_high=usd, seconds=seconds)


def test_the_error_is_the_median_of_actual_over_estimated_by_line():
    planned = [line("Training", 2.0, 100)]
    past = [(planned, [line("Training", usd, seconds)]) for usd, seconds in ((1.0, 50), (3.0, 300), (4.0, 100))]
    [error] = estimate_errors(past)
    assert (error.usd_ratio, error.n_usd, error.time_ratio, error.n_time) == (1.5, 3, 1.0, 3)
    assert errors_text([error]) == ["Training cost 1.5 × its estimate (3 sessions) and took 1 × the time (3 sessions)"]


def test_what_is_free_unknown_or_did_not_take_place_says_nothing_of_the_cost():
    planned = [line("Training", 0.0, 10), line("Evaluation", 2.0), line("Deployment", 8.0)]
    [error] = estimate_errors([(planned, [line("Training", 0.0, 30), line("Evaluation", None)])])
    assert (error.what, error.usd_ratio, error.time_ratio) == ("Training", None, 3.0)
    assert errors_text([error]) == ["Training took 3 × the time (1 session)"]


def test_no_past_is_no_error():
    assert estimate_errors([]) == []
