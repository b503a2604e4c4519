"""What `make demo-prompts` asks: nothing is trained on what measures."""

from __future__ import annotations

import json
from pathlib import Path

from flows.requesting import read_request
from preference.fingerprints import normalise

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def asked(file: Path) -> list[str]:
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [normalise((row.get("messages") or row["input"]["messages"])[-1]["content"]) for row in rows]


def test_the_prompts_are_none_of_those_that_the_strong_model_was_trained_or_is_measured_on():
    prompts = asked(EXAMPLES / "prompts" / "prompts.jsonl")
    assert len(set(prompts)) == len(prompts)
    for other in ("train", "held_out"):
        assert not set(prompts) & set(asked(EXAMPLES / "concise" / f"{other}.jsonl"))
    ours, theirs = (read_request(EXAMPLES / name / "request.yaml") for name in ("prompts", "concise"))
    for field in ("held_out", "evaluator"):
        assert Path(getattr(ours, field)).resolve() == Path(getattr(theirs, field)).resolve()
    assert (ours.base_models, ours.pairs.weak) == (theirs.base_models, theirs.base_models[0])
