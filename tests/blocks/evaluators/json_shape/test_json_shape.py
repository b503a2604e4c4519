"""eval-protocol's pointwise form, as `ep upload` would package it."""

import json

from eval_protocol.models import EvaluateResult, EvaluationRow, Message, MetricResult
from eval_protocol.pytest import SingleTurnRolloutProcessor, evaluation_test


@evaluation_test(
    input_messages=[[[Message(role="user", content="Give me the city and its country as JSON.")]]],
    completion_params=[{"model": "accounts/fireworks/models/qwen3-8b"}],
    rollout_processor=SingleTurnRolloutProcessor(),
    aggregation_method="mean",
    passed_threshold=0.5,
    mode="pointwise",
)
def test_json_shape(row: EvaluationRow) -> EvaluationRow:
    wanted = set(row.ground_truth or [])
    try:
        found = json.loads(row.messages[-1].content)
    except ValueError as error:
        row.evaluation_result = EvaluateResult(score=0.0, reason=f"no JSON: {error}")
        return row
    share = len(wanted & set(found)) / len(wanted) if wanted else 1.0
    row.evaluation_result = EvaluateResult(
        score=(1.0 + share) / 2,
        reason=f"{len(wanted & set(found))} of {len(wanted)} fields",
        metrics={"fields": MetricResult(score=share, is_score_valid=True, reason="share of the fields")},
    )
    return row
