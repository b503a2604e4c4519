"""Phase 5: the held-out prompts are answered by every contestant, journaled, and scored by the evaluator."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks import evaluators
from blocks.client import FireworksClient
from blocks.evaluators import EvaluatorSource, Limits
from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal, answer_key
from blocks.workspace import Workspace, prefworks_home
from preference.evaluator_plan import EvaluatorSummary
from preference.fingerprints import prompt_id
from preference.plan_lines import EVALUATOR
from preference.session import resource
from preference.settings_models import Sampling
from preference.splits import HeldOutPrompt
from preference.standings import Contestant, ScoredAnswer
from preference.wire import Evaluator
from tasks.buying import Wanted, buy
from tasks.progress import say, timed

JOURNAL = "journal.db"
SAMPLE_PAIRS = 12  # whose answers an evaluator is tried on
TRIAL = "evaluator-trial.json"
NO_ANSWER = "no answer from the model"
_OWN_FILE = re.compile(r"(?P<file>.+\.py)::(?P<function>\w+)")


class EvaluatorTrial(BaseModel):
    """How the evaluator did on answers of the training pairs, before anything was trained."""

    n_answers: int
    faults: list[str]


class TooFewAnswers(RuntimeError):
    """So many held-out prompts have no answer that a comparison would mislead."""


@task(task_run_name="fetch-evaluator", cache_policy=NO_CACHE)
def fetch_evaluator(platform: FireworksPlatform, workspace: Workspace, name: str) -> EvaluatorSource:
    """The evaluator's source from the platform; a local path/to/file.py::function is uploaded first, as a new one."""
    with platform.get_client(workspace.session) as client:
        if ours := _OWN_FILE.fullmatch(name):
            name = _upload(client, workspace, Path(ours["file"]), ours["function"])
        evaluator = client.get_evaluator(name)
        folder = workspace.directory("evaluator")
        fetched = workspace.read_json("evaluator.json")
        if fetched is None:
            source = client.download_evaluator_source(name, folder)
            workspace.write("evaluator.json", {"name": evaluator.name, "folder": str(source)})
        else:
            source = Path(fetched["folder"])
    return evaluators.inspect_source(source, evaluator)


def _upload(client: FireworksClient, workspace: Workspace, file: Path, function: str) -> str:
    if not file.is_file():
        raise evaluators.EvaluatorError(
            f"there is no file {file} (looked in {Path.cwd()}). Give path/to/file.py::function, or an evaluator's ID."
        )
    evaluator = Evaluator(
        display_name=f"{file.stem} of session {workspace.session}"[:63],
        entry_point=f"{file.name}::{function}",
    )
    made = client.ensure_evaluator(resource(workspace.session, "evaluator"), evaluator, file.parent)
    say(workspace, "inspect", f"{file} was uploaded as {made.name}")
    return made.name


def summarize(source: EvaluatorSource, *, unsandboxed: bool) -> EvaluatorSummary:
    """What the plan shows of the code that will judge."""
    return EvaluatorSummary(
        name=source.name,
        entry_point=source.entry_point,
        sha256=source.sha256,
        n_bytes=source.n_bytes,
        n_files=source.n_files,
        requirements=list(source.requirements),
        unsandboxed=unsandboxed,
    )


def sampling_parameters(sampling: Sampling) -> dict[str, Any]:
    """What every contestant is asked with; a part of the journal's keys."""
    return {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "seed": 0}


@task(task_run_name="answer-{contestant.name}", cache_policy=NO_CACHE)  # what is journaled is not asked again
def answer_prompts(
    platform: FireworksPlatform,
    workspace: Workspace,
    contestant: Contestant,
    addresses: Mapping[str, str],
    prompts: Sequence[HeldOutPrompt],
    sampling: Sampling,
) -> list[ScoredAnswer]:
    """One completion a prompt, in the prompts' order, not yet scored. Raises TooFewAnswers."""
    parameters = sampling_parameters(sampling)
    keys = {answer_key(contestant.model, p.messages, parameters): p for p in prompts}
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        missing = [
            Wanted(contestant.model, addresses[contestant.name], prompt.messages, parameters)
            for key, prompt in keys.items()
            if journal.find(key) is None
        ]
        if missing:
            with platform.get_client(workspace.session) as client:
                asyncio.run(buy(client, journal, missing, concurrency=sampling.concurrency))
        found = {key: journal.find(key) for key in keys}
    answers = [_unscored(prompt, found[key]) for key, prompt in keys.items()]
    n_missing = sum(answer is None for answer in found.values())
    if n_missing * 5 > len(keys):
        raise TooFewAnswers(
            f"{contestant.name} answered {len(keys) - n_missing} of {len(keys)} held-out prompts; the reasons are in "
            "the log. Start the session again: only the missing ones are asked for."
        )
    say(workspace, "evaluate", f"{contestant.name} answered {len(keys) - n_missing} of {len(keys)} prompts")
    return answers


def is_answered(
    workspace: Workspace, contestant: Contestant, prompts: Sequence[HeldOutPrompt], sampling: Sampling
) -> bool:
    """Whether the journal has all of a contestant's answers, so that no deployment is needed for them."""
    parameters = sampling_parameters(sampling)
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        return all(journal.find(answer_key(contestant.model, p.messages, parameters)) is not None for p in prompts)


def _unscored(prompt: HeldOutPrompt, answer: Answer | None) -> ScoredAnswer:
    asked = str(prompt.messages[-1].get("content", ""))
    if answer is None:
        return ScoredAnswer(prompt_id=prompt.prompt_id, prompt=asked, text="", reason=NO_ANSWER)
    return ScoredAnswer(
        prompt_id=prompt.prompt_id,
        prompt=asked,
        text=answer.text,
        finish_reason=answer.finish_reason,
        completion_tokens=answer.completion_tokens,
    )


@task(task_run_name="score-{contestant.name}", cache_policy=NO_CACHE)
def score_answers(
    workspace: Workspace,
    contestant: Contestant,
    answers: Sequence[ScoredAnswer],
    prompts: Sequence[HeldOutPrompt],
    source: EvaluatorSource,
    environment: Path | None,
    *,
    part: str,
    unsandboxed: bool,
) -> list[ScoredAnswer]:
    """The answers with their scores; kept as completions and verdicts in the folder. part names the half."""
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    answered = [a for a in answers if a.reason != NO_ANSWER]
    rows = [_evaluation_row(by_id[a.prompt_id], a) for a in answered]
    with timed(workspace, EVALUATOR):
        scores = evaluators.run(
            source,
            rows,
            limits=Limits(unsandboxed=unsandboxed),
            scratch=workspace.directory("scratch"),
            environment=environment,
        )
    by_answer = dict(zip((a.prompt_id for a in answered), scores, strict=True))
    scored = []
    for answer in answers:
        found = by_answer.get(answer.prompt_id)
        if found is not None:
            answer = answer.model_copy(update={"score": found.score, "reason": found.error or found.reason or ""})
        scored.append(answer)
    write_scored(workspace, part, contestant, scored)
    n_failed = sum(a.score is None for a in scored)
    failed = f", {n_failed} could not be scored" if n_failed else ""
    say(workspace, "evaluate", f"{contestant.name}: {len(scored) - n_failed} answers scored{failed}")
    return scored


def write_scored(workspace: Workspace, part: str, contestant: Contestant, scored: Sequence[ScoredAnswer]) -> None:
    """verdicts/PART-NAME.jsonl: completions with what was said of them."""
    text = "".join(json.dumps(a.model_dump(mode="json"), ensure_ascii=False) + "\n" for a in scored)
    workspace.write_text(f"verdicts/{part}-{contestant.name}.jsonl", text)


def _evaluation_row(prompt: HeldOutPrompt, answer: ScoredAnswer) -> dict[str, Any]:
    """An EvaluationRow of the open formats: the completion is the last assistant message."""
    extra = {k: v for k, v in prompt.row.items() if k in ("ground_truth",)}
    return {
        **extra,
        "messages": [*prompt.messages, {"role": "assistant", "content": answer.text}],
        "tools": prompt.tools or None,
        "input_metadata": {"row_id": prompt.prompt_id},
    }


@task(task_run_name="try-evaluator", cache_policy=NO_CACHE)
def try_evaluator(
    workspace: Workspace, source: EvaluatorSource, environment: Path | None, train: Path, *, unsandboxed: bool
) -> list[str]:
    """What is wrong with the evaluator on the answers of some training pairs, before anything is trained.

    Raises EvaluatorError where it scores none of them. For prompts without answers there is nothing to try it on.
    """
    rows = list(_sample_rows(train))
    if not rows:
        return []
    limits, scratch = Limits(unsandboxed=unsandboxed), workspace.directory("scratch")
    evaluators.run(source, rows, limits=limits, scratch=scratch, environment=environment)
    faults = evaluators.quality_gate(source, rows, limits=limits, scratch=scratch, environment=environment)
    workspace.write(TRIAL, EvaluatorTrial(n_answers=len(rows), faults=faults))
    return faults


def _sample_rows(train: Path) -> Iterator[dict[str, Any]]:
    """Both answers of the first pairs."""
    with train.open("rb") as file:
        for line in islice(file, SAMPLE_PAIRS):
            row = json.loads(line)
            for side in ("preferred_output", "non_preferred_output"):
                if side in row:
                    messages = row["input"]["messages"]
                    name = f"{prompt_id(messages)}-{side}"
                    prompt = HeldOutPrompt(name, messages, row["input"].get("tools", []), row)
                    text = "\n".join(str(message.get("content") or "") for message in row[side])
                    yield _evaluation_row(prompt, ScoredAnswer(prompt_id=name, prompt="", text=text))


@task(task_run_name="prepare-evaluator", cache_policy=NO_CACHE)
def prepare_evaluator(workspace: Workspace, source: EvaluatorSource, *, unsandboxed: bool) -> Path | None:
    """The evaluator's own environment, made once for its requirements; None where it has none."""
    if not source.requirements:
        return None
    say(workspace, "evaluate", f"installing the evaluator's requirements: {', '.join(source.requirements)}")
    return evaluators.prepare(source, prefworks_home() / "evaluators", unsandboxed=unsandboxed)
