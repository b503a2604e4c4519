"""Whether a session's report says what its folder holds: every number is made again, and differences are named.

Answers are held to the journal, the comparison is computed again from the verdicts, and the report is written again
from that. A judge's verdicts are read again from the journal, and a search draws its trials again. The evaluator is not
run again, and the platform is not asked: scores and job results are taken as recorded.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from pydantic import ValidationError

from blocks.journal import Journal, answer_key
from blocks.workspace import Workspace
from preference.approval import page_sha256
from preference.comparison import compare_halves
from preference.plan import Plan
from preference.plan_page import plan_markdown
from preference.report import final_report
from preference.session import SessionRecord
from preference.splits import HeldOutPrompt, halves, read_prompts
from preference.standings import Comparison, Contestant, ScoredAnswer
from preference.targets import with_target
from tasks.evaluation import JOURNAL, sampling_parameters
from tasks.reporting import PACKAGES, gather
from tasks.verifying_judge import judge_of, qualification_differences, verdict_differences
from tasks.verifying_pairs import pair_differences
from tasks.verifying_search import draw_differences

_VERSION = re.compile(rf"- (?:{'|'.join(PACKAGES)}) \S+")  # of the program that wrote it, not of the one that checks


UNANSWERED = ("", None, 0)


class CannotVerify(ValueError):
    """There is nothing to check; the message says why."""


def verify(workspace: Workspace) -> list[str]:
    """What differs between the session's folder and what can be made of it again: nothing, for an honest one.

    Raises CannotVerify where the session has no report yet.
    """
    record = workspace.read("session.json", SessionRecord)
    report = workspace.folder / "final_report.md"
    if record is None or not report.is_file():
        raise CannotVerify(f"there is no final_report.md in {workspace.folder}: the session has not ended, or is none.")
    found: list[str] = []
    try:
        _check(workspace, record, report.read_text("utf-8"), found)
    except (OSError, ValueError, LookupError, sqlite3.Error) as error:
        found.append(f"the report cannot be made again from the folder: {type(error).__name__}: {error}")
    return found


def _check(workspace: Workspace, record: SessionRecord, report: str, found: list[str]) -> None:
    """found: where differences go, so that a lie is named also where it leads to something that was never measured."""
    kept, again = workspace.read("comparison.json", Comparison), None
    found += qualification_differences(workspace)
    if kept is not None:
        again = _compare_again(workspace, record, kept, found)
        found += _plan_differences(workspace)
        found += differences("comparison.json", kept.model_dump(mode="json"), again.model_dump(mode="json"))
    found += pair_differences(workspace)
    found += _report_differences(workspace, report, again)


def _plan_differences(workspace: Workspace) -> list[str]:
    """Whether plan.json gives the page that was approved."""
    plan = workspace.read("plan.json", Plan)
    gates = [line for line in workspace.lines("approvals.jsonl") if line["gate"] == "plan"]
    approved = {line["shown_sha256"] for line in gates if line["answer"]["decision"] == "approve"}
    if plan is not None and plan.pairs is not None:  # the page was approved before they were made
        plan = plan.model_copy(update={"pairs": plan.pairs.model_copy(update={"made": {}})})
    if plan is None or page_sha256(plan_markdown(plan)) in approved:
        return []
    return ["plan.json is not a plan that was approved at the gate"]


def _compare_again(workspace: Workspace, record: SessionRecord, kept: Comparison, found: list[str]) -> Comparison:
    """The comparison from the verdicts; found gets what is wrong with these."""
    file = workspace.folder / "dataset" / "held_out.jsonl"
    prompts = {prompt.prompt_id: prompt for prompt in read_prompts(file)}
    selection, confirmation = halves(file)
    ids = {"selection": selection, "confirmation": confirmation}
    contestants = [
        s.contestant for s in [kept.base, *kept.bases, *([kept.champion] if kept.champion else []), *kept.candidates]
    ]
    plan = workspace.read("plan.json", Plan)  # an instruction may have changed what was asked for
    parameters = sampling_parameters((plan.request if plan else record.request).sampling)
    found += draw_differences(workspace, plan)

    def read(contestant: Contestant, part: str) -> list[ScoredAnswer]:
        name = f"verdicts/{part}-{contestant.name}.jsonl"
        answers = [_answer(name, number, line) for number, line in enumerate(workspace.lines(name), 1)]
        if [a.prompt_id for a in answers] != ids[part]:
            raise ValueError(f"{name} has other prompts than the {part} half of the held-out file")
        found.extend(_journal_differences(workspace, name, contestant, answers, prompts, parameters))
        return answers

    def answers(measured: Sequence[Contestant], part: str) -> dict[str, list[ScoredAnswer]]:
        given = {c.name: read(c, part) for c in measured}
        if plan is not None and plan.judge is not None:
            half = [prompts[i] for i in ids[part]]
            judge, opponent = plan.judge.judge, kept.base.contestant.name
            found.extend(verdict_differences(workspace, judge, opponent, measured, given, half, part))
        return given

    again = compare_halves(
        contestants,
        answers,
        has_confirmation=bool(confirmation),
        opponent=kept.base.contestant.name,
        judge=judge_of(workspace),
    )
    return with_target(again, record.request)


def _answer(name: str, number: int, line: dict[str, Any]) -> ScoredAnswer:
    try:
        return ScoredAnswer.model_validate(line)
    except ValidationError as error:
        raise ValueError(f"{name}, line {number}: {error.errors()[0]['msg']}") from None


def _journal_differences(
    workspace: Workspace,
    name: str,
    contestant: Contestant,
    answers: list[ScoredAnswer],
    prompts: dict[str, HeldOutPrompt],
    parameters: dict[str, Any],
) -> list[str]:
    """Answers that are not the ones that were bought."""
    if not (workspace.folder / JOURNAL).is_file():
        return [f"{name}: there is no {JOURNAL} to hold it to"]
    found = []
    with closing(Journal(workspace.folder / JOURNAL)) as journal:
        for answer in (a for a in answers if not a.left_out):
            prompt = prompts.get(answer.prompt_id)
            if prompt is None:
                found.append(f"{name}: prompt {answer.prompt_id} is not held out")
                continue
            bought = journal.find(answer_key(contestant.model, prompt.messages, parameters))
            kept = (answer.text, answer.finish_reason, answer.completion_tokens)
            if kept != ((bought.text, bought.finish_reason, bought.completion_tokens) if bought else UNANSWERED):
                found.append(f"{name}: the answer to prompt {answer.prompt_id} is not the one in {JOURNAL}")
    return found


def differences(where: str, kept: Any, again: Any) -> list[str]:
    """Each place where two JSON values differ, by its path; numbers may differ by rounding alone."""
    if isinstance(kept, dict) and isinstance(again, dict):
        keys = [*kept, *(key for key in again if key not in kept)]
        return [d for key in keys for d in differences(f"{where}: {key}", kept.get(key), again.get(key))]
    if isinstance(kept, list) and isinstance(again, list) and len(kept) == len(again):
        return [d for i, pair in enumerate(zip(kept, again, strict=True)) for d in differences(f"{where}[{i}]", *pair)]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (kept, again))
    same = math.isclose(kept, again, rel_tol=1e-9, abs_tol=1e-12) if numbers else kept == again
    return [] if same else [f"{where} is {kept!r}; computed again it is {again!r}"]


def _report_differences(workspace: Workspace, report: str, comparison: Comparison | None) -> list[str]:
    """Lines of final_report.md that are not what the folder gives, in the report's order."""
    facts = gather(workspace).model_copy(update={"comparison": comparison})
    kept, again = (
        [line for line in text.splitlines() if line and not _VERSION.fullmatch(line)]
        for text in (report, final_report(facts))
    )
    gone = [f"final_report.md says, and the folder does not: {line}" for line in kept if line not in set(again)]
    new = [f"final_report.md should say: {line}" for line in again if line not in set(kept)]
    if not gone and not new and kept != again:
        return ["final_report.md has its lines in another order, or twice"]
    return gone + new
