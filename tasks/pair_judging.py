"""Whether pairs are what they should be: the first ones by an evaluator or a judge, all of them by a judge's filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.evaluators import EvaluatorSource
from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal
from blocks.workspace import Workspace
from preference.fingerprints import prompt_id, prompt_text
from preference.judge_plan import PAIR_JUDGING, JudgeSummary
from preference.labelled import RUBRIC_PAIRS, LabelledPair
from preference.pair_judging import JudgedPairs, PairVerdict
from preference.pairs import FirstPass, first_pass, first_pass_judged
from preference.pairwise import RESPONSE_FORMAT, questions, read_reply
from preference.plan import Plan, is_unsandboxed
from preference.rates import Verdict
from preference.rubric import RUBRIC_FORMAT, read_rubric, writing_messages
from preference.splits import HeldOutPrompt
from preference.standings import Contestant, ScoredAnswer
from tasks.buying import was_refused
from tasks.evaluation import JOURNAL, score_answers
from tasks.judge_model import Judge, Messages, ask_judge, judge_key
from tasks.pair_models import STRONG, WEAK
from tasks.pairs import MAX_UNANSWERED_SHARE, Pair, TooFewPairs, make_pairs, pair_counter
from tasks.progress import say, timed

JUDGED_AT_ONCE = 1000  # pairs: as many questions are in memory, two each
RUBRIC = "pairs/rubric.json"  # that the first pass went by, where the judge had to write one


def score_first_pass(
    workspace: Workspace,
    plan: Plan,
    pairs: Sequence[Pair],
    source: EvaluatorSource,
    environment: Path | None,
) -> FirstPass:
    """Whether the strong model wins on the valid pairs of the first prompts, by the run's evaluator."""
    assert plan.pairs is not None
    drops, kept = _apart(pairs)
    prompts = [
        HeldOutPrompt(prompt_id(p.prompt.messages), p.prompt.messages, p.prompt.row.get("tools", []), p.prompt.row)
        for p in kept
    ]
    scores: dict[str, list[float | None]] = {STRONG: [], WEAK: []}
    models = {STRONG: plan.pairs.strong.name, WEAK: plan.pairs.weak.name}
    for n, role in enumerate((STRONG, WEAK)):
        answers = [
            ScoredAnswer(prompt_id=prompt.prompt_id, prompt=prompt_text(prompt.messages[-1:]), text=pair.sides[n].text)
            for prompt, pair in zip(prompts, kept, strict=True)
        ]
        scored = score_answers(
            workspace,
            Contestant(name=role, label=f"{role} model", model=models[role]),
            answers,
            prompts,
            source,
            environment,
            part="pairs",
            unsandboxed=is_unsandboxed(plan),
        )
        scores[role] = [answer.score for answer in scored]
    return first_pass(len(pairs), drops, plan.pairs.judged_by, scores[STRONG], scores[WEAK])


@dataclass(frozen=True)
class PairJudge:
    """Who compares the answers, by which rubric.

    serve: the judge as it can be asked, deployed where it needs that. doubt: why it is below the line, where a human
    let it on. tried: on labels that were there before the pairs.
    """

    judge: Judge
    rubric: str
    serve: Callable[[], Judge]
    doubt: str = ""
    tried: bool = True


def judge_first_pass(
    platform: FireworksPlatform, workspace: Workspace, pairs: Sequence[Pair], by: PairJudge
) -> FirstPass:
    """Whether the strong model wins on the valid pairs of the first prompts, by the judge, in both orders.

    Without a rubric it writes one from a third of them, at most eight, and is asked about the others.
    """
    drops, kept = _apart(pairs)
    shown = [] if by.rubric else kept[: min(RUBRIC_PAIRS, len(kept) // 3)]
    if shown:
        by = replace(by, rubric=_write_rubric(platform, workspace, by, shown))
    asked = kept[len(shown) :] if by.rubric else []
    verdicts = _judge(platform, workspace, by, asked, "judge-pairs-first")
    judged = JudgedPairs.of(by.judge.summary.name, [each for each in verdicts if each is not None])
    return first_pass_judged(len(pairs), drops, judged, n_shown=len(shown), doubt=by.doubt, tried=by.tried)


def _apart(pairs: Sequence[Pair]) -> tuple[Counter[str], list[Pair]]:
    """Why pairs were dropped, and those that were not."""
    drops = Counter(pair.dropped for pair in pairs if pair.dropped is not None)
    return drops, [pair for pair in pairs if pair.dropped is None]


def _write_rubric(platform: FireworksPlatform, workspace: Workspace, by: PairJudge, shown: Sequence[Pair]) -> str:
    """A rubric from these pairs, the strong model's answer taken for the better one; "" where the reply holds none."""
    labels = [
        LabelledPair(
            prompt_id=prompt_id(pair.prompt.messages),
            messages=pair.prompt.messages,
            better=pair.sides[0].text,
            worse=pair.sides[1].text,
        )
        for pair in shown
    ]
    [reply] = _ask(platform, workspace, by, [writing_messages(labels)], RUBRIC_FORMAT, "judge-pairs-rubric")
    rubric = read_rubric(reply.text, len(labels)) if isinstance(reply, Answer) else None
    said = f"rubric for the first pairs: {rubric}" if rubric else "the reply holds no rubric for the first pairs"
    say(workspace, "pairs", said)
    workspace.write(RUBRIC, {"rubric": rubric or "", "n_shown": len(labels)})
    return rubric or ""


def first_rubric(workspace: Workspace, by: PairJudge) -> str:
    """What the first pass went by."""
    written = workspace.read_json(RUBRIC)
    return by.rubric or str(written["rubric"] if written else "")


@task(task_run_name="judge-pairs-of-{n}-prompts", cache_policy=NO_CACHE)  # what is journaled is not asked again
def judge_all_pairs(
    platform: FireworksPlatform, workspace: Workspace, plan: Plan, train: Path, n: int, by: PairJudge
) -> None:
    """The judge's verdicts, in both orders, on all valid pairs of the first n prompts: in the journal.

    Raises TooFewPairs where many of them did not come.
    """
    pairs = make_pairs(workspace, plan, train, n, pair_counter(platform, workspace, plan))
    valid = (pair for pair in pairs if pair.dropped is None)
    n_judged, missing = 0, list[str]()
    for number in count(1):
        if not (some := list(islice(valid, JUDGED_AT_ONCE))):
            break
        asked = [both for pair in some for both in pair_questions(by.rubric, pair)]
        told = _ask(platform, workspace, by, asked, RESPONSE_FORMAT, f"judge-pairs-{number}")
        n_judged += len(some)
        missing += [why for why in told if isinstance(why, str)]
        say(workspace, "pairs", f"{n_judged:,} pairs judged, in both orders")
    if len(missing) > MAX_UNANSWERED_SHARE * 2 * n_judged:
        raise TooFewPairs(
            f"{len(missing)} of {2 * n_judged} verdicts of the judge did not come; the last reason: {missing[-1]}. "
            "Start the session again: only the missing ones are asked for."
        )


def _judge(
    platform: FireworksPlatform, workspace: Workspace, by: PairJudge, pairs: Sequence[Pair], step: str
) -> list[PairVerdict | None]:
    asked = [both for pair in pairs for both in pair_questions(by.rubric, pair)]
    _ask(platform, workspace, by, asked, RESPONSE_FORMAT, step)
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        return [find_verdict(journal, by.judge.summary, by.rubric, pair) for pair in pairs]


def _ask(
    platform: FireworksPlatform,
    workspace: Workspace,
    by: PairJudge,
    asked: Sequence[Messages],
    response_format: Mapping[str, Any],
    step: str,
) -> list[Answer | str]:
    """The judge is served only where there is something left to ask."""
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        keys = [judge_key(by.judge.summary, messages, response_format) for messages in asked]
        left = any(journal.find(key) is None and not was_refused(journal.failure(key)) for key in keys)
    judge = by.serve() if left else by.judge
    with timed(workspace, PAIR_JUDGING):
        return ask_judge(platform, workspace, judge, asked, response_format, line=PAIR_JUDGING, step=step)


def pair_questions(rubric: str, pair: Pair) -> tuple[Messages, Messages]:
    """The strong model's answer shown first, then second."""
    return questions(rubric, pair.prompt.messages, pair.sides[0].text, pair.sides[1].text)


def find_verdict(journal: Journal, judge: JudgeSummary, rubric: str, pair: Pair) -> PairVerdict | None:
    """What the journal has on the pair; None where the judge was never asked about it."""
    keys = [judge_key(judge, messages, RESPONSE_FORMAT) for messages in pair_questions(rubric, pair)]
    answers = [journal.find(key) for key in keys]
    if not any(answers) and not any(journal.failure(key) for key in keys):
        return None
    first, second = (_verdict(answer) for answer in answers)
    return PairVerdict(strong_first=first, strong_second=second)


def _verdict(answer: Answer | None) -> Verdict:
    return read_reply(answer.text).verdict if answer else "unread"


def with_verdicts(
    workspace: Workspace, pairs: Iterable[Pair], judge: JudgeSummary, rubric: str, *, drops: bool
) -> Iterator[Pair]:
    """The pairs with what the judge said of them. drops: what it does not confirm is not trained on."""
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        for pair in pairs:
            verdict = find_verdict(journal, judge, rubric, pair) if pair.dropped is None else None
            if drops and pair.dropped is None:
                verdict = verdict or PairVerdict(strong_first="unread", strong_second="unread")
                pair = replace(pair, dropped=verdict.why_not)
            yield replace(pair, verdict=verdict)
