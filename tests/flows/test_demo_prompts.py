"""`make demo-prompts`: whose answers it learns from, and that nothing is trained on what measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.workspace import Workspace
from flows.requesting import read_request
from local_server.config import default_home
from preference.comparison import Comparison
from preference.fingerprints import normalise
from preference.pairs import PairsMade
from preference.session import Outcome, SessionRecord

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


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_demo_s_model_teaches_its_untouched_base(tmp_path):
    """Without a strong model the ordinary demo comes first, and deploys one; then the base learns from its answers."""
    prepared = default_home() / "weights"
    if prepared.is_dir():
        (tmp_path / "local_server").mkdir()
        (tmp_path / "local_server" / "weights").symlink_to(prepared.resolve())
    command = [sys.executable, "-m", "flows.cli", "demo", "--prompts", "--yes"]
    ports = {"PREFECT_PORT": "4390", "LOCAL_SERVER_PORT": "8890"}
    environment = {**os.environ, **ports, "PREFWORKS_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    first, second = (Workspace(folder.name, tmp_path) for folder in sorted((tmp_path / "sessions").iterdir()))
    record, made = first.read("session.json", SessionRecord), second.read("pairs/pairs.json", PairsMade)
    assert record is not None
    assert made is not None
    assert record.outcome is Outcome.PROMOTED
    assert made.strong.model.startswith(f"accounts/local/models/pw-{first.session}-t")
    assert made.first_pass.separates
    comparison = second.read("comparison.json", Comparison)
    assert comparison is not None
    assert comparison.headline is not None
    assert comparison.headline.difference.low > 0.3
