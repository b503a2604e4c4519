import pytest
from pydantic import ValidationError

from preference.bases import DataSize, named_bases
from preference.cost import PriceBook, load_price_book, total, training_tokens, usd_text
from preference.evaluator_plan import EvaluatorSummary, evaluator_text
from preference.ledger import Entry, Kind, Ledger
from preference.plan import PlanRefused, actual_lines, draft_plan, trial_line
from preference.plan_lines import FIRST_HOUR, SAMPLING, TRAINING
from preference.plan_page import plan_markdown
from preference.session import is_session_id, resource, session_id
from preference.settings import PreferenceRequest
from preference.settings_sweep import Grid, Method
from preference.trials import grid_trials
from preference.wire import BaseModelDetails, Model

SESSION = "1779157376-41e1"


def request(**fields) -> PreferenceRequest:
    given = {"dataset": "prefs", "base_model": "qwen3-8b", "evaluator": "rubric", **fields}
    return PreferenceRequest.model_validate(given)


def base(parameters: int | None = 8_190_000_000) -> Model:
    details = None if parameters is None else BaseModelDetails(parameter_count=parameters)
    return Model(name="accounts/fireworks/models/qwen3-8b", display_name="Qwen3 8B", base_model_details=details)


def size(**fields) -> DataSize:
    known = {
        "n_train": 100,
        "n_held_out": 40,
        "n_selection": 20,
        "n_confirmation": 20,
        "train_prompt_tokens": 10_000,
        "train_chosen_tokens": 20_000,
        "train_rejected_tokens": 30_000,
        "held_out_prompt_tokens": 4_000,
        "exact": True,
        "n_over_context": 0,
    }
    return DataSize(**{**known, **fields})


def evaluator() -> EvaluatorSummary:
    return EvaluatorSummary(
        name="rubric",
        entry_point="a.py::f",
        sha256="ab" * 32,
        n_bytes=10,
        n_files=1,
        requirements=["numpy>=2", "scipy"],
    )


def plan(prices: PriceBook | None = None, model: Model | None = None, data: DataSize | None = None, **fields):
    prices = prices or load_price_book("fireworks")
    return draft_plan(SESSION, request(**fields), named_bases([model or base()], [data or size()]), evaluator(), prices)


def test_the_grid_is_a_product_in_a_stable_order_with_ids_chosen_beforehand():
    sweep = {"learning_rates": [1e-5, 2e-5], "betas": [0.1, 0.3], "lora_ranks": [8]}
    trials = grid_trials(SESSION, request(sweep=sweep), [base()])
    assert [(t.name, t.learning_rate, t.beta) for t in trials] == [
        ("t1", 1e-5, 0.1),
        ("t2", 1e-5, 0.3),
        ("t3", 2e-5, 0.1),
        ("t4", 2e-5, 0.3),
    ]
    assert trials[3].job_id == "pw-1779157376-41e1-t4"


def test_more_examples_than_a_job_takes_are_refused_before_the_plan_with_the_epochs_that_fit():
    data = size(n_train=1_000_001)
    told = (
        r"1,000,001 training pairs for 3 epochs are 3,000,003 examples, and a job takes 3,000,000 at most\. Ask for 2"
    )
    with pytest.raises(PlanRefused, match=told):
        plan(data=data, sweep={"epochs": [1, 3]})
    assert plan(data=data, sweep={"epochs": [2]}).trials
    assert plan(data=size(n_train=1_000_000), sweep={"epochs": [3]}).trials


def test_a_value_given_twice_is_one_trial():
    assert len(grid_trials(SESSION, request(sweep={"learning_rates": [1e-5, 1e-5], "betas": [0.1]}), [base()])) == 1


def test_a_dpo_job_always_says_its_method_and_an_orpo_job_carries_lambda():
    [dpo] = grid_trials(SESSION, request(sweep={"learning_rates": [1e-5], "betas": [0.2]}), [base()])
    body = dpo.job_spec("accounts/a/datasets/d").to_json()
    assert body["lossConfig"] == {"method": "DPO", "dpo": {"beta": 0.2}}
    assert body["trainingConfig"]["outputModel"] == dpo.job_id
    sweep = {"learning_rates": [1e-5], "orpo_lambdas": [0.5]}
    [orpo] = grid_trials(SESSION, request(method="ORPO", sweep=sweep), [base()])
    assert orpo.job_spec("d").to_json()["lossConfig"] == {"method": "ORPO", "orpo": {"lambda": 0.5}}


def test_training_tokens_are_billed_as_the_api_bills_them():
    assert training_tokens(prompt=10, chosen=20, rejected=30, epochs=3) == 3 * (2 * 10 + 20 + 30)


def test_the_plan_prices_training_by_model_size_and_deployments_by_the_hour():
    made = plan(sweep={"learning_rates": [1e-5], "betas": [0.1]})
    training, sampling, judging, first_hour = made.lines
    assert training.usd == pytest.approx(0.07)  # 70,000 tokens at 1 USD a million
    assert (training.usd_low, training.usd_high) == pytest.approx((0.049, 0.091))
    assert sampling.usd is not None
    assert sampling.usd > 0
    assert judging.usd == 0
    assert first_hour.usd == 8.0
    assert total(made.lines).usd == pytest.approx(sum(line.usd for line in made.lines))


def test_orpo_is_priced_as_dpo_and_the_plan_says_that_it_is_a_guess():
    dpo = plan(sweep={"learning_rates": [1e-5], "betas": [0.1]})
    orpo = plan(method="ORPO", sweep={"learning_rates": [1e-5], "orpo_lambdas": [0.1]})
    assert orpo.lines[0].usd == dpo.lines[0].usd
    assert "ORPO's billing is undocumented; it is priced at the DPO rate." in plan_markdown(orpo)
    assert "it is priced at the DPO rate" not in plan_markdown(dpo)


def test_a_price_that_is_not_known_is_unknown_and_not_zero():
    made = plan(model=base(None), serving={"accelerator_type": "NVIDIA_X100"})
    assert made.unknown_prices == [TRAINING, SAMPLING, FIRST_HOUR]
    assert total(made.lines).usd is None
    assert "**Unknown price:** Training" in plan_markdown(made)
    assert "**unknown – unknown – unknown USD**" in plan_markdown(made)


def test_the_same_request_and_data_give_the_same_plan_and_another_price_another_one():
    assert plan().sha256 == plan().sha256
    assert plan().sha256 != plan(prices=load_price_book("local")).sha256


def test_the_plan_warns_of_what_a_careful_reader_would_ask():
    told = plan_markdown(plan(data=size(n_held_out=8, n_selection=8, n_confirmation=0, exact=False, n_over_context=3)))
    assert "too few for a confirmation half" in told
    assert "Token counts are estimates" in told
    assert "3 training rows are longer than 2048 tokens" in told


def entry(kind: Kind, resource: str, usd: float | None, category: str = TRAINING) -> Entry:
    return Entry(kind=kind, resource=resource, category=category, usd=usd)


def test_the_bill_of_a_failed_job_is_unknown_and_bounded_by_what_was_reserved():
    made = plan(sweep={"learning_rates": [1e-5, 2e-5], "betas": [0.1]})
    assert trial_line(made, made.trials[0]).usd_high == pytest.approx(0.091)
    known = [entry(Kind.SETTLED, "j1", 0.07), entry(Kind.SETTLED, "j2", 0.07)]
    [whole] = actual_lines(made, Ledger.of(known), {TRAINING: 60.0})
    assert (whole.usd, whole.seconds) == (pytest.approx(0.14), 60.0)
    failed = [known[0], entry(Kind.RESERVED, "j2", 0.091), entry(Kind.SETTLED, "j2", None)]
    [broken] = actual_lines(made, Ledger.of(failed), {TRAINING: 60.0})
    assert (broken.usd, broken.usd_low, broken.usd_high) == (None, 0.07, pytest.approx(0.161))
    assert broken.quantity == "not known: j2"


def test_what_did_not_take_place_has_no_actual_cost_and_what_was_not_planned_has_one():
    assert actual_lines(plan(), Ledger(), {}) == []
    [line] = actual_lines(plan(), Ledger.of([entry(Kind.SETTLED, "x", 2.0, "Something else")]), {})
    assert (line.what, line.usd) == ("Something else", 2.0)


def test_the_plan_says_what_was_spent_before_it():
    assert "Nothing has been spent so far." in plan_markdown(plan())
    spent = Ledger.of([entry(Kind.SETTLED, "j1", 1.25)]).spent()
    made = draft_plan(
        SESSION, request(), named_bases([base()], [size()]), evaluator(), load_price_book("fireworks"), spent
    )
    assert "1.25 USD spent so far." in plan_markdown(made)


def test_all_faults_of_a_sweep_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        Grid(learning_rates=[0.0], betas=[0.5], lora_ranks=[7], epochs=[0], max_context_length=100)
    for part in ("learning rate 0", "beta 0.5", "LoRA rank 7", "0 epochs", "context length 100"):
        assert part in str(caught.value)


def test_dollars_are_never_shown_as_zero_when_they_are_not():
    assert (usd_text(None), usd_text(0.0), usd_text(0.004), usd_text(1234.5)) == (
        "unknown",
        "0.00",
        "< 0.01",
        "1,234.50",
    )


def test_a_price_book_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="there is no price book 'acme'"):
        load_price_book("acme")


def test_session_ids_and_resource_names():
    assert session_id(1779157376.9, "41E1ffff") == SESSION
    assert is_session_id(SESSION)
    assert not is_session_id("../../etc")
    assert resource(SESSION, "eval") == "pw-1779157376-41e1-eval"
    with pytest.raises(ValueError, match="cannot be a resource's ID"):
        resource(SESSION, "Winner!")


def test_methods_are_those_of_the_api():
    assert [m.value for m in Method] == ["DPO", "ORPO"]


@pytest.mark.parametrize(
    ("n_files", "n_bytes", "size"),
    [(1, 34, "1 file, 34 bytes"), (3, 12_345, "3 files, 12 kB"), (2, 2e7, "2 files, 20 MB")],
)
def test_an_evaluator_is_shown_whole_before_it_is_approved(n_files, n_bytes, size):
    code = evaluator().model_copy(update={"n_files": n_files, "n_bytes": int(n_bytes)})
    assert evaluator_text(code) == [
        f"- Evaluator `rubric`, `a.py::f`, {size}, sha256 `abababababab`, run in a sandbox without network",
        "  - Requirements, installed into an environment of its own: `numpy>=2`, `scipy`",
    ]
    assert "WITHOUT a sandbox" in evaluator_text(code.model_copy(update={"unsandboxed": True}))[0]
