"""Evaluators: code fetched from the platform that scores completions, run where it can do no harm.

An evaluator that scores is `prepare`d once (its requirements in an environment of their own) and `run` over rows
shaped like eval-protocol's EvaluationRow, whose last assistant message is the completion. A row it failed on has an
error and no score: a failure is never a 0.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocks.evaluator_scores import RowScore, failure_reasons, outcomes_in, row_score, summary, why_it_ended
from blocks.evaluator_source import EntryPoint, EvaluatorSource, copy_source, inspect_source
from blocks.evaluator_tree import EvaluatorError
from blocks.sandbox import (
    Ended,
    Limits,
    Program,
    Sandbox,
    SandboxRefused,
    isolation,
    standard_python,
    why_not_sandboxed,
)
from blocks.sandbox_install import prepare

__all__ = [
    "EntryPoint",
    "EvaluatorError",
    "EvaluatorSource",
    "Limits",
    "RowScore",
    "SandboxRefused",
    "failure_reasons",
    "inspect_source",
    "isolation",
    "prepare",
    "quality_gate",
    "run",
    "why_not_sandboxed",
]

_MAX_ROW_BYTES = 64 << 10  # an outcome on its way here
_HARNESS = [Path(__file__).resolve().with_name(f"sandbox_{name}.py") for name in ("harness", "calls", "worker")]


def run(
    source: EvaluatorSource,
    rows: Sequence[dict[str, Any]],
    *,
    limits: Limits | None = None,
    scratch: Path | None = None,
    environment: Path | None = None,
) -> list[RowScore]:
    """Score rows, one RowScore each, in their order.

    rows: EvaluationRow-shaped dicts; extra fields reach functions that name them (ground_truth, say). Rows of one
    `input_metadata.row_id` (else of one prompt) form the group of a groupwise evaluator.
    scratch: where the evaluator's writable folder is made, and removed afterwards; the system's temporary folder
    if None, or if an unprivileged user cannot get there. environment: what `prepare` gave; needed where the source
    has requirements.
    Raises EvaluatorError where no row could be scored, SandboxRefused where this system cannot isolate it.
    """
    return _run(source, rows, 1, limits or Limits(), scratch, environment)


def _run(
    source: EvaluatorSource,
    rows: Sequence[dict[str, Any]],
    repeats: int,
    limits: Limits,
    scratch: Path | None,
    environment: Path | None,
) -> list[RowScore]:
    """The rows' scores, all of them as often as asked, one time after the other."""
    if not rows:
        return []
    if source.requirements and environment is None:
        raise EvaluatorError(f"{source.name} has requirements, and no environment was given: call prepare() first")
    place = scratch if scratch is None or _reachable(scratch) else None
    with tempfile.TemporaryDirectory(prefix="evaluator-", dir=place, ignore_cleanup_errors=True) as own:
        source = _copy(source, Path(own))
        program = _program(source, Path(own), environment)
        scores, ended, fault = _collect(program, _job(source, rows, repeats, limits), limits)
    missing = fault or why_it_ended(ended, limits)
    done = [score or RowScore(None, error=missing) for score in scores]
    if all(score.error for score in done):
        raise EvaluatorError(f"{source.name} scored none of {len(rows)} rows: {summary(done)}")
    return done


def quality_gate(
    source: EvaluatorSource,
    sample_rows: Sequence[dict[str, Any]],
    *,
    limits: Limits | None = None,
    scratch: Path | None = None,
    environment: Path | None = None,
) -> list[str]:
    """What is wrong with an evaluator on a sample of rows, in sentences; empty where nothing is.

    Scores must be finite and in [0, 1], not all the same, and the same when asked again.
    """
    try:
        both = _run(source, sample_rows, 2, limits or Limits(), scratch, environment)
    except EvaluatorError as error:
        return [str(error)]
    first, again = both[: len(sample_rows)], both[len(sample_rows) :]
    faults = []
    failed = [score for score in first if score.error]
    if failed:
        faults.append(f"{len(failed)} of {len(first)} rows have no score: {summary(first)}")
    scores = [score.score for score in first if score.score is not None]
    if len(scores) > 1 and len(set(scores)) == 1:
        faults.append(f"all {len(scores)} rows have the same score, {scores[0]:g}: it tells nothing apart")
    changed = [place for place, (one, two) in enumerate(zip(first, again, strict=True)) if not _same(one, two)]
    if changed:
        one, two = (_said(scores[changed[0]]) for scores in (first, again))
        faults.append(
            f"{len(changed)} of {len(first)} rows came out differently when asked again "
            f"(row {changed[0] + 1}: {one}, then {two})"
        )
    return faults


def _same(one: RowScore, two: RowScore) -> bool:
    if one.score is None or two.score is None:
        return one.score is two.score
    return abs(one.score - two.score) <= 1e-9


def _said(score: RowScore) -> str:
    return "no score" if score.score is None else f"{score.score:g}"


def _job(source: EvaluatorSource, rows: Sequence[dict[str, Any]], repeats: int, limits: Limits) -> dict[str, Any]:
    entries = [
        {"name": entry.name, "file": str(source.folder / entry.path), "function": entry.function}
        for entry in source.entry_points
    ]
    bounds = {name: getattr(limits, name) for name in ("row_wall_s", "row_cpu_s", "output_kb", "concurrency")}
    job = {"entries": entries, "rows": list(rows), "limits": bounds, "repeats": repeats}
    return {"paths": [str(source.folder)], **job}


def _reachable(folder: Path) -> bool:
    """Whether the user that the evaluator will be can go there: as root it is one that no folder was opened for."""
    folder = folder.resolve()
    return os.geteuid() != 0 or all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _copy(source: EvaluatorSource, own: Path) -> EvaluatorSource:
    """The source as it was inspected, and the harness, in a folder that any user may read.

    Run as root, the evaluator is another user, for whom the source itself may be out of reach.
    """
    copied = copy_source(source, own / "code")
    (own / "harness").mkdir()
    (own / "scratch").mkdir(mode=0o700)
    for file in _HARNESS:
        shutil.copyfile(file, own / "harness" / file.name)
        (own / "harness" / file.name).chmod(0o644)
    for folder in (own, own / "harness"):
        folder.chmod(0o755)
    return copied


def _program(source: EvaluatorSource, own: Path, environment: Path | None) -> Program:
    if environment is None:
        python, flags = standard_python(), ["-I", "-S", "-B"]  # no site: none of our packages
        readable = [Path(sys.base_prefix)]
    else:
        python, flags = environment / "bin" / "python", ["-I", "-B"]
        readable = [Path(sys.base_prefix), environment]
    return Program(
        argv=[str(python), *flags, str(own / "harness" / _HARNESS[0].name)],
        readable=[*readable, source.folder, own / "harness"],
        scratch=own / "scratch",
        cwd=source.folder,
        environment=_environment(own / "scratch"),
        ours=own,
    )


def _environment(scratch: Path) -> dict[str, str]:
    """All that the evaluator sees of an environment: nothing of ours, so no key can be in it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "USER": "evaluator",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the same scores when asked again
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else its import waits for the network
        "EP_NO_UPLOAD": "1",
        "EP_DISABLE_AUTO_BROWSER": "1",
    }


def _collect(
    program: Program, job: dict[str, Any], limits: Limits
) -> tuple[list[RowScore | None], Ended | None, str | None]:
    """The scores that came, how the program ended, and what it said if it could not begin."""
    n_rows = len(job["rows"]) * job["repeats"]
    scores: list[RowScore | None] = [None] * n_rows
    ready = False
    fault = None

    def overdue(seconds: float) -> str | None:
        if not ready and seconds > limits.import_wall_s:
            return f"loading it took longer than {limits.import_wall_s:g} s"
        return f"the run took longer than {limits.total_wall_s:g} s" if seconds > limits.total_wall_s else None

    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(job, default=str).encode())
        stdin.seek(0)
        with Sandbox(program, limits, stdin) as sandbox:
            for message in sandbox.messages(overdue, max_bytes=(n_rows + 16) * _MAX_ROW_BYTES):
                ready = ready or "ready" in message
                if "fault" in message:
                    fault = f"it cannot be loaded: {message['fault']}"
                    if "ModuleNotFoundError" in fault:
                        fault += "; what it imports has to be in its requirements.txt"
                for row, outcome in outcomes_in(message, n_rows):
                    if scores[row] is None:
                        scores[row] = row_score(outcome)
            return scores, sandbox.ended, fault
