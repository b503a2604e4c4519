"""A judge at work: tried on labelled pairs, with the rubric that it may have to write; then on the contestants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer
from blocks.workspace import Workspace
from preference import formats
from preference.formats import is_local
from preference.judge_plan import JUDGING, QUALIFICATION, JudgePlan, JudgeSummary, LabelSummary
from preference.labelled import (
    RUBRIC_TRIES,
    LabelledPair,
    LabelPool,
    apart,
    balanced,
    holds_pairs,
    read_labels,
    sample_for,
)
from preference.pairwise import RESPONSE_FORMAT, Reply, questions, read_reply
from preference.qualification import Qualification, qualification_markdown, qualify
from preference.rates import verdict_score
from preference.rubric import RUBRIC_FORMAT, read_rubric, writing_messages
from preference.settings import PreferenceRequest
from preference.splits import HeldOutPrompt
from preference.standings import Contestant, ScoredAnswer
from tasks.evaluation import NO_ANSWER, write_scored
from tasks.inspection import stage_dataset
from tasks.judge_model import Judge, Messages, ask_judge
from tasks.pairs import CANDIDATES, PAIRS
from tasks.progress import say, timed

Ask = Callable[[Sequence[Messages], Mapping[str, Any], str], list[Answer | str]]  # messages, format, step

LABELS = "judge/labels.json"
QUALIFIED = "judge/qualification.json"
SAME = "both answers are the same, word for word: a tie without asking"


class Labels(BaseModel):
    """The labelled pairs of a run, and whose they are."""

    source: str
    pool: LabelPool


class Tries(BaseModel):
    """What judge/qualification.json holds: a try for each rubric, and the number of the one that is used."""

    tries: list[Qualification]
    used: int

    @property
    def best(self) -> Qualification:
        return self.tries[self.used]


@task(task_run_name="gather-labels", cache_policy=NO_CACHE)
def gather_labels(
    platform: FireworksPlatform, workspace: Workspace, request: PreferenceRequest, train: Path
) -> Labels | None:
    """The set that the request names, else the training pairs: what was said to be better there.

    None where neither has labels: for prompts alone, those of the pairs that will be made (see delta_labels).
    """
    file, source = train, "the data's own, from its training pairs"
    if request.labelled:
        source = f"{request.labelled}, named as `labelled`"
        file = workspace.path("dataset", "labelled.source.jsonl")
        if not is_local(request.labelled):
            file = stage_dataset(platform, workspace, request.labelled, "labelled")
        elif not file.exists():
            formats.stage(formats.local_file(request.labelled), file)
    if not holds_pairs(file):
        if not request.labelled:
            return None
        raise formats.BadDataset(
            f"{request.labelled} has prompts without answers: a judge is tried on pairs of answers of which one is "
            "known to be better (input.messages, preferred_output, non_preferred_output)."
        )
    return _kept_labels(workspace, source, file)


def delta_labels(workspace: Workspace) -> Labels:
    """For prompts alone: the strong model's answer is taken for the better one."""
    source = "the delta labels: a strong model's answer over a weak one's, taken for better and seen by nobody"
    candidates = workspace.path(CANDIDATES)  # before the judge's own filter, where it has one
    return _kept_labels(workspace, source, candidates if candidates.exists() else workspace.path(PAIRS))


def _kept_labels(workspace: Workspace, source: str, file: Path) -> Labels:
    labels = Labels(source=source, pool=read_labels(file))
    workspace.write(LABELS, labels)
    return labels


def summarize_judge(judge: Judge, labels: Labels | None, rubric: str, train: Path) -> JudgePlan:
    """What the plan shows of it. train: the prompts, where the labels are those of pairs yet to be made."""
    if labels is None:
        with train.open("rb") as file:
            n_prompts = sum(1 for _ in file)
        return JudgePlan(judge=judge.summary, rubric=rubric, labels=LabelSummary.of_pairs_to_be_made(n_prompts))
    pairs = tried_on(labels, written=not rubric.strip())
    sizes = [sum(len(str(m.get("content"))) for m in p.messages) + len(p.better) + len(p.worse) for p in pairs]
    summary = LabelSummary(
        source=labels.source,
        n=len(pairs),
        n_shorter_better=sum(pair.longer_by < 0 for pair in pairs),
        longer_share=labels.pool.longer_share,
        mean_characters=sum(sizes) / len(sizes) if sizes else 0.0,
    )
    return JudgePlan(judge=judge.summary, rubric=rubric.strip(), labels=summary)


@task(task_run_name="qualify-judge", cache_policy=NO_CACHE)  # what is journaled is not asked again
def qualify_judge(
    platform: FireworksPlatform, workspace: Workspace, judge: Judge, rubric: str, labels: Labels
) -> Qualification:
    """Try the judge on the labels with this rubric; without one, with up to three that it writes."""

    def ask(messages: Sequence[Messages], response_format: Mapping[str, Any], step: str) -> list[Answer | str]:
        line = QUALIFICATION
        return ask_judge(platform, workspace, judge, messages, response_format, line=line, step=f"judge-{step}")

    with timed(workspace, QUALIFICATION):
        tries: list[Qualification] = []
        for attempt in range(1 if rubric else RUBRIC_TRIES):
            text = rubric or _write_rubric(workspace, ask, labels, attempt)
            pairs = tried_on(labels, written=not rubric) if text else []
            answers = ask(label_questions(text, pairs), RESPONSE_FORMAT, f"qualification-{attempt + 1}")
            tries.append(qualification(judge.summary, labels, text, pairs, answers, written=not rubric))
            if tries[-1].qualified:
                break
    workspace.write(QUALIFIED, kept := Tries(tries=tries, used=best_try(tries)))
    best = kept.best
    create_markdown_artifact(
        qualification_markdown(best), key="judge", description=f"Session {workspace.session}: the judge and its rubric"
    )
    told = "is qualified" if best.qualified else "is NOT qualified: " + "; ".join(best.reasons)
    say(workspace, "judge", f"{best.judge} {told}")
    return best


def best_try(tries: Sequence[Qualification]) -> int:
    """The number of the try that is used: a qualified one, else the one that surely agrees most; the earliest."""
    return max(range(len(tries)), key=lambda n: (tries[n].qualified, tries[n].agreement.low or 0.0, -n))


def _write_rubric(workspace: Workspace, ask: Ask, labels: Labels, attempt: int) -> str:
    """A rubric from a sample of the labels; "" where the reply holds none."""
    sample = sample_for(apart(labels.pool)[0], attempt)
    [reply] = ask([writing_messages(sample)], RUBRIC_FORMAT, f"rubric-{attempt + 1}")
    rubric = read_rubric(reply.text, len(sample)) if isinstance(reply, Answer) else None
    if rubric is None:
        what = reply.text if isinstance(reply, Answer) else reply
        say(workspace, "judge", f"rubric {attempt + 1}: the reply holds none: {what[:200]}")
    else:
        say(workspace, "judge", f"rubric {attempt + 1}: {rubric}")
    return rubric or ""


def tried_on(labels: Labels, *, written: bool) -> list[LabelledPair]:
    """A rubric of the user's is tried on all; one that is written, on pairs that it was not written from."""
    return balanced(apart(labels.pool)[1] if written else labels.pool)


def label_questions(rubric: str, pairs: Sequence[LabelledPair]) -> list[Messages]:
    """(2 n_labels,): the better answer shown first, then second."""
    return [both for pair in pairs for both in questions(rubric, pair.messages, pair.better, pair.worse)]


def qualification(
    judge: JudgeSummary,
    labels: Labels,
    rubric: str,
    pairs: Sequence[LabelledPair],
    answers: Sequence[Answer | str],
    *,
    written: bool,
) -> Qualification:
    replies = [_reply(answer) for answer in answers]
    found = qualify(
        pairs,
        list(zip(replies[::2], replies[1::2], strict=True)),
        judge=judge.name,
        source=labels.source,
        rubric=rubric,
        n_tries=RUBRIC_TRIES if written else 1,
    )
    notes = [*found.notes, *adapted_notes(answers)]
    if not rubric:
        return found.model_copy(update={"reasons": ["it wrote no rubric that points to any of the pairs"]})
    return found.model_copy(update={"notes": notes})


def adapted_notes(answers: Sequence[Answer | str]) -> list[str]:
    """How the judge was asked, where its endpoint does not take all that it should be asked with."""
    told = dict.fromkeys(a.adapted for a in answers if isinstance(a, Answer) and a.adapted)
    return [f"Its endpoint does not take all that a judge is asked with. It was asked {text}." for text in told]


@task(task_run_name="judge-{contestant.name}", cache_policy=NO_CACHE)  # what is journaled is not asked again
def judge_answers(
    platform: FireworksPlatform,
    workspace: Workspace,
    judge: Judge,
    rubric: str,
    contestant: Contestant,
    answers: Sequence[ScoredAnswer],
    opponent: Sequence[ScoredAnswer],
    own_base: Sequence[ScoredAnswer] | None,
    prompts: Sequence[HeldOutPrompt],
    *,
    part: str,
) -> list[ScoredAnswer]:
    """The contestant's answers with the verdicts on them, against the opponent's on the same prompts, in both orders.

    own_base: its own base's answers, where that is not the opponent: they are compared, too.
    """

    def compared(theirs: Sequence[ScoredAnswer], step: str) -> list[ScoredAnswer]:
        asked = answer_questions(rubric, prompts, answers, theirs)
        told = ask_judge(platform, workspace, judge, asked, RESPONSE_FORMAT, line=JUDGING, step=step)
        return with_verdicts(answers, theirs, told)

    step = f"judge-{part}-{contestant.name}"
    with timed(workspace, JUDGING):
        scored = compared(opponent, step)
        if own_base is not None:
            scored = with_own_base(scored, compared(own_base, f"{step}-own"))
    write_scored(workspace, part, contestant, scored)
    n_unread = sum(a.score is None for a in scored)
    unread = f", {n_unread} without a verdict" if n_unread else ""
    say(workspace, "evaluate", f"{contestant.name}: {len(scored) - n_unread} answers judged{unread}")
    return scored


def answer_questions(
    rubric: str, prompts: Sequence[HeldOutPrompt], answers: Sequence[ScoredAnswer], theirs: Sequence[ScoredAnswer]
) -> list[Messages]:
    """Two for each prompt where there is something to ask: ours shown first, then second."""
    return [
        both
        for prompt, a, b in zip(prompts, answers, theirs, strict=True)
        if is_judged(a, b)
        for both in questions(rubric, prompt.messages, a.text, b.text)
    ]


def is_judged(ours: ScoredAnswer, theirs: ScoredAnswer) -> bool:
    """Whether there is something to ask: two answers, and not the same one."""
    return NO_ANSWER not in (ours.reason, theirs.reason) and ours.text != theirs.text and not ours.left_out


def with_verdicts(
    answers: Sequence[ScoredAnswer], theirs: Sequence[ScoredAnswer], told: Sequence[Answer | str]
) -> list[ScoredAnswer]:
    """told: the judge's replies to answer_questions, in order."""
    replies = iter([_reply(answer) for answer in told])
    return [
        _with_verdict(ours, next(replies), next(replies)) if is_judged(ours, other) else _unasked(ours, other)
        for ours, other in zip(answers, theirs, strict=True)
    ]


def with_own_base(answers: Sequence[ScoredAnswer], against_base: Sequence[ScoredAnswer]) -> list[ScoredAnswer]:
    return [
        a.model_copy(update={"own_base_score": b.score, "own_base_verdicts": b.verdicts})
        for a, b in zip(answers, against_base, strict=True)
    ]


def _with_verdict(answer: ScoredAnswer, first: Reply, second: Reply) -> ScoredAnswer:
    """The candidate is A where it is shown first, B where it is shown second."""
    told_first = {"A": "won", "B": "lost"}.get(first.verdict, first.verdict)
    told_second = {"A": "lost", "B": "won"}.get(second.verdict, second.verdict)
    return answer.model_copy(
        update={
            "score": verdict_score(first.verdict, second.verdict),
            "reason": f"shown first: {told_first}, “{first.reason}”; shown second: {told_second}, “{second.reason}”",
            "verdicts": [first.verdict, second.verdict],
        }
    )


def _unasked(ours: ScoredAnswer, theirs: ScoredAnswer) -> ScoredAnswer:
    if ours.reason == NO_ANSWER or ours.left_out:
        return ours
    if theirs.reason == NO_ANSWER:
        return ours.model_copy(update={"reason": "no answer from the opponent to compare with"})
    return ours.model_copy(update={"score": 0.5, "reason": SAME})


def as_opponent(answers: Sequence[ScoredAnswer]) -> list[ScoredAnswer]:
    """The opponent's own answers: each ties with itself."""
    return [a if a.reason == NO_ANSWER else a.model_copy(update={"score": 0.5}) for a in answers]


def _reply(answer: Answer | str) -> Reply:
    if not isinstance(answer, Answer):
        return Reply("unread", answer)
    reply = read_reply(answer.text)
    if reply.verdict == "unread" and (answer.finish_reason == "length" or answer.thinking_open):
        cut = f"cut short after {answer.completion_tokens} tokens: give the judge more tokens per verdict"
        return Reply("unread", f"{cut} ({reply.reason})")
    return reply
