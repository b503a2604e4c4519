"""eval-protocol's groupwise form: the answers to one prompt against each other, async; and its form over all rows."""

import asyncio

from eval_protocol.models import EvaluateResult, EvaluationRow, Message
from eval_protocol.pytest import SingleTurnRolloutProcessor, evaluation_test

ASKED = {
    "input_messages": [[[Message(role="user", content="Explain it in one sentence.")]]],
    "completion_params": [{"model": "one"}, {"model": "two"}],
    "rollout_processor": SingleTurnRolloutProcessor(),
}


@evaluation_test(**ASKED, mode="groupwise")
async def test_shortest_wins(rows: list[EvaluationRow]) -> list[EvaluationRow]:
    await asyncio.sleep(0)
    ranked = sorted(rows, key=lambda row: len(row.messages[-1].content))
    for place, row in enumerate(ranked):
        row.evaluation_result = EvaluateResult(
            score=1.0 - place / len(ranked), reason=f"place {place + 1} of {len(rows)}"
        )
    return ranked


@evaluation_test(**{**ASKED, "completion_params": [{"model": "one"}]}, mode="all")
def test_share_of_all(rows: list[EvaluationRow]) -> list[EvaluationRow]:
    total = sum(len(row.messages[-1].content) for row in rows)
    for row in rows:
        row.evaluation_result = EvaluateResult(score=len(row.messages[-1].content) / total, reason=f"of {total}")
    return rows
