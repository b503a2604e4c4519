"""A judge's part of a session, held to the journal: its qualification, and every verdict on the contestants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from blocks.journal import Journal
from blocks.workspace import Workspace
from preference.comparison import JudgedBy
from preference.judge_plan import JudgeSummary
from preference.pairwise import RESPONSE_FORMAT
from preference.plan import Plan
from preference.splits import HeldOutPrompt
from preference.standings import Contestant, ScoredAnswer
from tasks.evaluation import JOURNAL
from tasks.judge_model import recorded
from tasks.judging import (
    LABELS,
    QUALIFIED,
    Labels,
    Tries,
    answer_questions,
    as_opponent,
    best_try,
    label_questions,
    qualification,
    tried_on,
    with_own_base,
    with_verdicts,
)


def judge_of(workspace: Workspace) -> JudgedBy | None:
    """Whose verdicts a session's comparison has; None for an evaluator's scores."""
    tries = workspace.read(QUALIFIED, Tries)
    return None if tries is None else JudgedBy(tries.best.judge, tries.best.doubt)


def qualification_differences(workspace: Workspace) -> list[str]:
    """Where judge/qualification.json is not what the journal's verdicts on the labels come to."""
    tries, labels = workspace.read(QUALIFIED, Tries), workspace.read(LABELS, Labels)
    plan = workspace.read("plan.json", Plan)
    if tries is None or labels is None or plan is None or plan.judge is None:
        return []
    written = not plan.judge.rubric
    found = []
    with closing(Journal(workspace.folder / JOURNAL)) as journal:
        for number, kept in enumerate(tries.tries, 1):
            pairs = tried_on(labels, written=written) if kept.rubric else []
            answers = recorded(journal, plan.judge.judge, label_questions(kept.rubric, pairs), RESPONSE_FORMAT)
            again = qualification(plan.judge.judge, labels, kept.rubric, pairs, answers, written=written)
            if again != kept:
                found.append(f"{QUALIFIED}: try {number} is not what the verdicts in {JOURNAL} come to")
    if tries.used != best_try(tries.tries):
        found.append(f"{QUALIFIED}: try {tries.used + 1} is not the best one")
    return found


def verdict_differences(
    workspace: Workspace,
    judge: JudgeSummary,
    opponent: str,
    contestants: Sequence[Contestant],
    answers: Mapping[str, Sequence[ScoredAnswer]],
    prompts: Sequence[HeldOutPrompt],
    part: str,
) -> list[str]:
    """Scores of one half that are not what the journal's verdicts come to."""
    tries = workspace.read(QUALIFIED, Tries)
    if tries is None:
        return [f"{QUALIFIED} is missing"]
    rubric, found = tries.best.rubric, []
    plain = {
        name: [a.model_copy(update={"score": None, "verdicts": []}) for a in given] for name, given in answers.items()
    }

    def judged(journal: Journal, name: str, other: str) -> list[ScoredAnswer]:
        ours, theirs = plain[name], plain[other]
        asked = answer_questions(rubric, prompts, ours, theirs)
        return with_verdicts(ours, theirs, recorded(journal, judge, asked, RESPONSE_FORMAT))

    with closing(Journal(workspace.folder / JOURNAL)) as journal:
        for contestant in contestants:
            name = contestant.name
            if name == opponent:
                again = as_opponent(plain[name])
            elif contestant.is_base and part != "selection":
                again = plain[name]
            else:
                again = judged(journal, name, opponent)
                if not contestant.is_base and contestant.base != opponent:
                    again = with_own_base(again, judged(journal, name, contestant.base))
            found += [
                f"verdicts/{part}-{name}.jsonl: the verdict on prompt {kept.prompt_id} is not the one in {JOURNAL}"
                for kept, new in zip(answers[name], again, strict=True)
                if _outcome(kept) != _outcome(new)
            ]
    return found


def _outcome(answer: ScoredAnswer) -> tuple[object, ...]:
    return answer.score, answer.verdicts, answer.own_base_score, answer.own_base_verdicts
