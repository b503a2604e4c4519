"""What a judge says of pairs, what it costs, and what batch inference would save: by hand."""

from collections import Counter

import pytest

from preference.cost import load_price_book
from preference.judge_plan import PAIR_JUDGING, JudgePlan, JudgeSummary, LabelSummary, pair_judging_lines
from preference.pair_judging import REVERSED, TIED, UNREAD, JudgedPairs, PairVerdict
from preference.pair_plan import PairJudging, PairPlan, batch_offer, pair_lines, pair_notes
from preference.pairs import first_pass_judged
from preference.pairs_page import first_pass_markdown
from preference.settings import PreferenceRequest
from preference.settings_models import PairGeneration, Serving
from preference.wire import BaseModelDetails, Model, PeftDetails


@pytest.mark.parametrize(
    ("first", "second", "score", "why_not"),
    [
        ("A", "B", 1.0, None),
        ("B", "A", 0.0, REVERSED),
        ("A", "A", 0.5, TIED),  # it turns with the order
        ("tie", "B", 0.5, TIED),
        ("tie", "tie", 0.5, TIED),
        ("unread", "B", None, UNREAD),  # not a tie
    ],
)
def test_only_what_wins_in_both_orders_is_kept(first, second, score, why_not):
    verdict = PairVerdict(strong_first=first, strong_second=second)
    assert (verdict.score, verdict.why_not) == (score, why_not)


def verdicts(*both: tuple[str, str]) -> list[PairVerdict]:
    return [PairVerdict(strong_first=first, strong_second=second) for first, second in both]


def test_a_judge_that_only_sees_the_position_shows_in_the_shares_by_position():
    judged = JudgedPairs.of("first", verdicts(*[("A", "A")] * 10))
    assert (judged.shown_first.won, judged.shown_second.lost) == (10, 10)
    assert "shown first 100% (10 won, 0 tied, 0 lost), shown second 0% (0 won, 0 tied, 10 lost)" in judged.text()
    found = first_pass_judged(10, Counter(), judged)
    assert not found.separates


def test_the_share_by_position_leaves_out_what_was_not_read_and_counts_it():
    judged = JudgedPairs.of("j", verdicts(("A", "B"), ("tie", "unread"), ("A", "tie")))
    assert judged.shown_first.text() == "83% (2 won, 1 tied, 0 lost)"
    assert judged.shown_second.text() == "75% (1 won, 1 tied, 0 lost, 1 unread)"
    assert (judged.win_rate.n, judged.win_rate.n_unread) == (2, 1)
    assert JudgedPairs.of("j", []).shown_first.text() == "unknown (0 won, 0 tied, 0 lost)"


def test_an_untried_judge_is_called_so_where_its_word_counts():
    judged = JudgedPairs.of("j", verdicts(*[("A", "B")] * 12))
    found = first_pass_judged(20, Counter(), judged, n_shown=6, tried=False)
    assert found.separates
    assert "its rubric was written from 6 others; the judge was not tried before" in found.text()
    page = first_pass_markdown(found, "s", "w", [])
    assert "the judge could not be tried before" in page
    doubted = first_pass_judged(
        20, Counter(), judged, doubt="The judge j is below the line: it only looks at the place"
    )
    assert doubted.text().endswith("The judge j is below the line: it only looks at the place")
    assert "could not be tried before" not in first_pass_markdown(doubted, "s", "w", [])


def model(name: str, billions: float, **more) -> Model:
    details = BaseModelDetails(parameter_count=int(billions * 1e9))
    return Model(name=f"accounts/fireworks/models/{name}", base_model_details=details, **more)


def planned(n_prompts: int = 2000, judging: PairJudging | None = None, **settings) -> PairPlan:
    return PairPlan(
        strong=model("qwen3-32b", 32.8),
        weak=model("qwen3-0p6b", 0.6),
        picked=False,
        n_prompts=n_prompts,
        judged_by="j" if judging else None,
        judging=judging,
        settings=PairGeneration(**settings),
    )


TRIED, UNTRIED = PairJudging(tried=True, writes=False), PairJudging(tried=False, writes=True)


@pytest.mark.parametrize(
    ("judging", "settings", "calls"),
    [
        (None, {}, 0),  # an evaluator's code
        (TRIED, {}, 40),
        (TRIED, {"judge_filter": True}, 4000),
        (UNTRIED, {}, 41),  # and one that writes the rubric
        (UNTRIED, {"judge_filter": True}, 4041),  # the first ones again, by the rubric that it is qualified with
    ],
)
def test_a_judge_is_asked_about_a_pair_in_both_orders(judging, settings, calls):
    assert planned(judging=judging, **settings).n_judge_calls == calls


def test_judging_pairs_is_a_line_of_the_plan():
    judge = JudgeSummary(name="j", model="big", address="http://127.0.0.1/v1", usd_per_million=(1.0, 2.0))
    labels = LabelSummary(source="named", n=20, n_shorter_better=10, longer_share=0.5, mean_characters=400)
    plan = JudgePlan(judge=judge, rubric="Shorter is better. " * 4, labels=labels)
    request, prices = PreferenceRequest(dataset="x"), load_price_book("fireworks")
    pairs = planned(judging=TRIED, judge_filter=True, max_tokens=100)
    [line] = pair_judging_lines(plan, pairs, request, prices, 81.0)
    assert line.what == PAIR_JUDGING
    assert line.quantity == "4,000 calls: 2,000 pairs (all, the first included), in both orders"
    # 4,000 questions of 450 + 19 (rubric) + 81 + 2 x 100 tokens, and replies of 150 or of at most 1,024
    assert line.usd == pytest.approx((4000 * 750 * 1.0 + 4000 * 150 * 2.0) / 1e6)
    assert line.usd_high == pytest.approx((4000 * 750 * 1.0 + 4000 * 1024 * 2.0) / 1e6)
    assert pair_judging_lines(plan, planned(), request, prices, 81.0) == []
    # on the platform: 8 USD an hour for two starts and two sleeps of 300 s, 600,000 tokens at 1,500 a second
    here = plan.model_copy(update={"judge": judge.model_copy(update={"address": ""})})
    [line] = pair_judging_lines(here, pairs, request, prices, 81.0)
    assert line.usd == pytest.approx(8.0 * (2 * 300 + 400 + 2 * 300) / 3600)
    deployed = pairs.model_copy(update={"judging": PairJudging(tried=True, writes=False, deployed=True)})
    waits = [pair_lines(p, Serving(), prices, 0)[0].seconds for p in (pairs, deployed)]
    assert waits[1] - waits[0] == pytest.approx(300)  # until the judge is up
    notes = " ".join(pair_notes(pairs))
    assert "judged by j, in both orders" in notes
    assert "those that it reverses, ties or does not read are left out, too" in notes
    assert "it has not been tried by then" in " ".join(pair_notes(planned(judging=UNTRIED)))


def test_a_filter_by_a_judge_needs_one():
    with pytest.raises(ValueError, match=r"pairs\.judge_filter asks a judge about each pair, and evaluator 'e'"):
        PreferenceRequest(dataset="x", evaluator="e", pairs={"judge_filter": True})


def test_batch_inference_is_half_of_the_serverless_price_and_unknown_where_there_is_none():
    prices = load_price_book("fireworks")
    assert prices.batch_usd(2e6, 1e6, "gpt-oss-120b", 120_000_000_000) == pytest.approx((2 * 0.15 + 0.60) / 2)
    assert prices.batch_usd(1e6, 1e6, "qwen3-0p6b", 600_000_000) == pytest.approx(0.10)
    assert prices.batch_usd(1e6, 1e6, "qwen3-32b", 32_800_000_000) == pytest.approx(0.90)
    assert prices.batch_usd(1e6, 1e6, "giant", 900_000_000_000) is None
    assert prices.batch_usd(1e6, 1e6, "my-tuned-model", None) is None
    assert load_price_book("local").batch_usd(1e6, 1e6, "my-tuned-model", None) == 0.0


def test_batch_inference_is_offered_from_a_thousand_prompts_where_it_is_cheaper():
    prices, serving = load_price_book("fireworks"), Serving()
    offer = batch_offer(planned(2000), serving, prices, 200_000)
    # expected: 200,000 prompt and 2,000 x 512 completion tokens, at 0.45 and at 0.05 USD a million
    then = 1.224 * 0.45 + 1.224 * 0.05
    now = sum(line.usd for line in pair_lines(planned(2000), serving, prices, 200_000))
    assert f"about {then:.2f} instead of {now:.2f} USD ({now - then:.2f} less)" in offer
    assert "use batch inference" in offer
    assert "not listed as served serverless: `qwen3-32b` and `qwen3-0p6b`" in offer
    assert batch_offer(planned(999), serving, prices, 200_000) == ""
    assert batch_offer(planned(2000, batch=True), serving, prices, 200_000) == ""
    assert batch_offer(planned(2000), serving, load_price_book("local"), 200_000) == ""  # nothing to save
    tuned = planned(2000).model_copy(update={"strong": model("t", 8, peft_details=PeftDetails(base_model="b"))})
    assert batch_offer(tuned, serving, prices, 200_000) == ""  # of unknown price


def test_in_batch_the_plan_has_the_tokens_price_and_no_deployment():
    lines = pair_lines(planned(2000, batch=True), Serving(), load_price_book("fireworks"), 200_000)
    assert [line.quantity.partition(",")[0] for line in lines] == ["qwen3-32b in batch", "qwen3-0p6b in batch"]
    assert lines[0].usd_high == pytest.approx((200_000 + 2_048_000) * 0.45 / 1e6)
    assert all(line.seconds > 6 * 3600 for line in lines)
    assert "by batch inference, by the token" in " ".join(pair_notes(planned(2000, batch=True)))
