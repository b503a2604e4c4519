"""What was bought becomes a dataset: the pairs, each one's origin, their report, and a new name on the platform."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer
from blocks.workspace import Workspace, prefworks_home
from preference import formats
from preference.fingerprints import prompt_id
from preference.judge_plan import PAIR_JUDGING, JudgeSummary
from preference.pair_judging import JudgedPairs, PairVerdict
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS, PairPlan, PairSize
from preference.pairs import FirstPass, Length, PairModelUse, PairsMade, Side, pair_row
from preference.pairs_page import pairs_markdown
from preference.plan import Plan
from preference.profile import profile
from preference.session import resource
from preference.splits import Split
from preference.tokens import counter_for
from preference.wire import Model
from tasks.inspection import tokenizer_folder
from tasks.pair_judging import with_verdicts
from tasks.pair_models import STRONG, WEAK
from tasks.pairs import (
    CANDIDATES,
    DATASET,
    MADE,
    PAIRS,
    PROVENANCE,
    Pair,
    TooFewPairs,
    make_pairs,
    pair_counter,
    sampling_parameters,
)
from tasks.progress import say
from tasks.spending import ledger

MIN_PAIRS = 3  # the API's own minimum of training rows
LINES = (STRONG_ANSWERS, WEAK_ANSWERS, PAIR_JUDGING)


@task(task_run_name="write-candidates", cache_policy=NO_CACHE)  # made again from the journal in seconds
def write_candidates(platform: FireworksPlatform, workspace: Workspace, plan: Plan, split: Split) -> int:
    """All pairs that pass the rules, before a judge has a word on them; how many. Raises TooFewPairs.

    A judge that will filter is tried on these: on what it kept itself it would always agree.
    """
    pairs = plan.pairs
    assert pairs is not None
    drops: Counter[str] = Counter()
    raw = workspace.path("pairs/candidates.raw.jsonl")
    with formats.atomic_file(raw) as rows:
        made = make_pairs(workspace, plan, split.train, pairs.n_prompts, pair_counter(platform, workspace, plan))
        n_valid = _write_valid(rows, _counted(made, drops))
    require_enough(workspace, pairs.n_prompts, n_valid, drops)
    formats.stage(raw, workspace.path(CANDIDATES))
    raw.unlink()
    return n_valid


def _counted(pairs: Iterable[Pair], drops: Counter[str]) -> Iterator[Pair]:
    for pair in pairs:
        if pair.dropped is not None:
            drops[pair.dropped] += 1
        yield pair


def _write_valid(rows: Any, pairs: Iterable[Pair]) -> int:
    """A line of format A for each pair that is trained on; how many."""
    n_valid = 0
    for pair in pairs:
        if pair.dropped is None:
            rows.write(orjson.dumps(pair_row(pair.prompt.row, *(side.text for side in pair.sides))) + b"\n")
            n_valid += 1
    return n_valid


def require_enough(workspace: Workspace, n_prompts: int, n_valid: int, drops: Counter[str]) -> None:
    """Raises TooFewPairs, with why."""
    if n_valid >= MIN_PAIRS:
        return
    reasons = "; ".join(f"{n} × {reason}" for reason, n in drops.most_common())
    origins = workspace.folder / PROVENANCE
    look = f"Look into {origins}, and start" if origins.exists() else "Start"
    raise TooFewPairs(
        f"{n_prompts} prompts gave {n_valid} pairs, and at least {MIN_PAIRS} are needed. Left out: {reasons}. {look} "
        "a new session with other models or limits."
    )


@task(task_run_name="write-pairs", cache_policy=NO_CACHE)  # made again from the journal in seconds
def write_pairs(
    platform: FireworksPlatform,
    workspace: Workspace,
    plan: Plan,
    split: Split,
    found: FirstPass,
    judge: JudgeSummary | None = None,
    rubric: str = "",
) -> PairsMade:
    """The pairs, each one's origin, the report, and a new dataset on the platform. Raises TooFewPairs.

    judge and rubric: whose verdicts in the journal the pairs have, and by what; with pairs.judge_filter, what it does
    not confirm is left out.
    """
    pairs = plan.pairs
    assert pairs is not None
    counter = pair_counter(platform, workspace, plan)
    tally = _Tally(pairs)
    made_of = make_pairs(workspace, plan, split.train, pairs.n_prompts, counter)
    if judge is not None:
        made_of = with_verdicts(workspace, made_of, judge, rubric, drops=pairs.settings.judge_filter)
    raw = workspace.path("pairs/made.jsonl")
    with formats.atomic_file(raw) as rows, formats.atomic_file(workspace.path(PROVENANCE)) as origins:
        for pair in made_of:
            tally.add(pair)
            _write_valid(rows, [pair])
            origins.write(orjson.dumps(provenance(pair, pairs, judge, rubric)) + b"\n")
    require_enough(workspace, pairs.n_prompts, len(tally.valid), tally.drops)
    intake = formats.stage(raw, workspace.path(PAIRS))
    bought = ledger(workspace)
    made = PairsMade(
        settings=pairs.settings,
        n_prompts=pairs.n_prompts,
        n_valid=intake.n_rows,
        drops=dict(tally.drops.most_common()),
        first_pass=found,
        before=Length.of(tally.answered),
        after=Length.of(tally.valid),
        length_counter=counter.name,
        strong=tally.use(STRONG),
        weak=tally.use(WEAK),
        sizes={base.model.name: _size(platform, workspace, base.model) for base in plan.bases},
        dataset=_upload(platform, workspace, intake.n_rows),
        judged=JudgedPairs.of(judge.name, tally.verdicts) if judge and pairs.settings.judge_filter else None,
        costs={line: bought.spent(line) for line in LINES if bought.spent(line).n_bought},
    )
    workspace.write_text("pairs/report.md", f"# Pairs of session {workspace.session}\n\n{pairs_markdown(made)}\n")
    workspace.write(MADE, made)
    made_before(workspace, plan)
    say(workspace, "pairs", f"{made.n_valid} pairs from {made.n_prompts} prompts, uploaded as {made.dataset}")
    return made


class _Tally:
    """What is counted while the pairs are written."""

    def __init__(self, pairs: PairPlan) -> None:
        self._models = {STRONG: pairs.strong.name, WEAK: pairs.weak.name}
        self._uses = {STRONG: [0, 0, 0], WEAK: [0, 0, 0]}
        self.drops: Counter[str] = Counter()
        self.answered: list[tuple[int, int]] = []
        self.valid: list[tuple[int, int]] = []
        self.verdicts: list[PairVerdict] = []

    def add(self, pair: Pair) -> None:
        for role, answer in ((STRONG, pair.strong), (WEAK, pair.weak)):
            if answer is not None:
                counts = (1, answer.prompt_tokens, answer.completion_tokens)
                self._uses[role] = [a + b for a, b in zip(self._uses[role], counts, strict=True)]
        strong, weak = pair.sides
        if strong.text and weak.text:
            self.answered.append((strong.n_tokens, weak.n_tokens))
        if pair.dropped is None:
            self.valid.append((strong.n_tokens, weak.n_tokens))
        else:
            self.drops[pair.dropped] += 1
        if pair.verdict is not None:
            self.verdicts.append(pair.verdict)

    def use(self, role: str) -> PairModelUse:
        n_answers, prompt_tokens, completion_tokens = self._uses[role]
        return PairModelUse(
            model=self._models[role],
            n_answers=n_answers,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )


def made_before(workspace: Workspace, plan: Plan) -> PairsMade | None:
    """The pairs that are there, with their true sizes put into plan.json, from which training is priced."""
    made = workspace.read(MADE, PairsMade)
    if made is not None and plan.pairs is not None:
        workspace.write(
            "plan.json", plan.model_copy(update={"pairs": plan.pairs.model_copy(update={"made": made.sizes})})
        )
    return made


def _size(platform: FireworksPlatform, workspace: Workspace, base: Model) -> PairSize:
    counter = counter_for(tokenizer_folder(platform, workspace, base))
    found = profile(workspace.path(PAIRS), counter, cache=prefworks_home() / "token-counts")
    tokens = found.tokens
    return PairSize(
        n_pairs=found.n_rows,
        prompt_tokens=tokens.prompt.total,
        chosen_tokens=tokens.chosen.total if tokens.chosen else 0,
        rejected_tokens=tokens.rejected.total if tokens.rejected else 0,
    )


def _upload(platform: FireworksPlatform, workspace: Workspace, n_rows: int) -> str:
    """A new dataset with the time in its name, which is written down before the upload; its full name."""
    name = workspace.read_json(DATASET)
    if name is None:
        name = resource(workspace.session, f"pairs-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        workspace.write_text(DATASET, json.dumps(name))
    with platform.get_client(workspace.session) as client:
        return client.ensure_dataset(name, workspace.path(PAIRS), example_count=n_rows).name


def provenance(pair: Pair, plan: PairPlan, judge: JudgeSummary | None = None, rubric: str = "") -> dict[str, Any]:
    """One line of provenance.jsonl: also for what was left out, with why."""
    models = (plan.strong.name, plan.weak.name)
    origin = {
        "line": pair.prompt.line,
        "prompt_id": prompt_id(pair.prompt.messages),
        "row_sha256": sha256(orjson.dumps(pair.prompt.row, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        "kept": pair.dropped is None,
        "reason": pair.dropped or _why_kept(pair, plan),
        "sampling": sampling_parameters(plan.settings),
    }
    for role, model, answer, side in zip((STRONG, WEAK), models, (pair.strong, pair.weak), pair.sides, strict=True):
        origin[role] = _origin(model, answer, side)
    if judge is not None and pair.verdict is not None:
        origin["judge"] = {
            "model": judge.model,
            "rubric_sha256": sha256(rubric.encode()).hexdigest(),
            **pair.verdict.model_dump(),
        }
    return origin


def _why_kept(pair: Pair, plan: PairPlan) -> str:
    confirmed = "; the judge confirms it in both orders" if plan.settings.judge_filter else ""
    return f"both answers passed every filter; chosen is the strong model's, by construction{confirmed}"


def _origin(model: str, answer: Answer | None, side: Side) -> dict[str, Any]:
    if answer is None:
        return {"model": model, "failure": side.failure}
    return {
        "model": model,
        "text_sha256": sha256(answer.text.encode()).hexdigest(),
        "finish_reason": answer.finish_reason,
        "n_tokens": side.n_tokens,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "usd": answer.usd,
    }
