"""Phase 3a: training prompts become pairs, a strong model's answer over a weak one's. Bought once, whatever dies."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.evaluators import EvaluatorSource
from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal
from blocks.workspace import Workspace, prefworks_home
from preference import formats
from preference.comparison import Contestant, ScoredAnswer
from preference.fingerprints import prompt_id, prompt_text
from preference.pair_plan import PairPlan, PairSize
from preference.pairs import (
    FirstPass,
    Length,
    PairModelUse,
    PairsMade,
    Side,
    first_pass,
    pair_row,
    pairs_markdown,
    why_dropped,
)
from preference.plan import Plan
from preference.profile import profile
from preference.row_index import RowIndex, group_hashes
from preference.session import resource
from preference.splits import HeldOutPrompt, Split
from preference.tokens import TokenCounter, counter_for
from preference.wire import Model
from tasks.buying import Wanted, buy, missing, was_refused
from tasks.evaluation import JOURNAL, score_answers
from tasks.inspection import tokenizer_folder
from tasks.pair_models import STRONG, WEAK
from tasks.pair_progress import PairProgress
from tasks.progress import say

MADE = "pairs/pairs.json"
DATASET = "pairs/dataset.json"  # the name that was chosen
PAIRS = "pairs/pairs.jsonl"
PROVENANCE = "pairs/provenance.jsonl"
BATCH_ROWS = 256
MIN_PAIRS = 3  # the API's own minimum of training rows
MAX_UNANSWERED_SHARE = 0.2


class TooFewPairs(RuntimeError):
    """The two models did not give enough to train on; the message has the reasons."""


@dataclass(frozen=True)
class Prompt:
    """A distinct training prompt, with where it came from."""

    line: int  # of the source
    row: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.row["messages"]
        return messages


@dataclass(frozen=True)
class Pair:
    """Both answers to a prompt, and why they are not trained on, if so."""

    prompt: Prompt
    strong: Answer | None
    weak: Answer | None
    sides: tuple[Side, Side]
    dropped: str | None


def training_prompts(train: Path, n: int) -> Iterator[Prompt]:
    """The first n distinct prompts in the order of their hashes: the same in any order of rows. Read one by one."""
    index = RowIndex.load(train)
    with train.open("rb") as file:
        for i in group_hashes(index.prompts).first[:n].tolist():
            file.seek(int(index.offsets[i]))
            yield Prompt(int(index.lines[i]), orjson.loads(file.readline()))


def wanted(prompt: Prompt, pairs: PairPlan, addresses: Mapping[str, str] | None = None) -> tuple[Wanted, Wanted]:
    """The strong and the weak model's answer to a prompt; addresses are needed to buy them, not to find them."""
    settings = pairs.settings
    parameters: dict[str, Any] = {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "seed": 0}
    if tools := prompt.row.get("tools"):
        parameters["tools"] = tools
    at = addresses or {STRONG: "", WEAK: ""}
    return (
        Wanted(pairs.strong.name, at[STRONG], prompt.messages, parameters),
        Wanted(pairs.weak.name, at[WEAK], prompt.messages, parameters),
    )


def all_wanted(train: Path, pairs: PairPlan, n: int, addresses: Mapping[str, str] | None = None) -> Iterator[Wanted]:
    for prompt in training_prompts(train, n):
        yield from wanted(prompt, pairs, addresses)


def is_bought(workspace: Workspace, train: Path, pairs: PairPlan, n: int) -> bool:
    """Whether there is nothing left to ask for the first n prompts; so it is once the pairs are being uploaded."""
    if workspace.read_json(DATASET) is not None:
        return True
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        return next(missing(journal, all_wanted(train, pairs, n)), None) is None


@task(task_run_name="answer-{n}-prompts", cache_policy=NO_CACHE)  # what is journaled is not asked again
def buy_answers(
    platform: FireworksPlatform, workspace: Workspace, plan: Plan, train: Path, n: int, addresses: Mapping[str, str]
) -> None:
    """Both models' answers to the first n training prompts, in the journal. Raises TooFewPairs where many fail."""
    pairs = plan.pairs
    assert pairs is not None
    with (
        closing(Journal(workspace.path(JOURNAL))) as journal,
        platform.get_client(workspace.session) as client,
        PairProgress(workspace, plan, sum(1 for _ in missing(journal, all_wanted(train, pairs, n)))) as progress,
    ):
        asyncio.run(
            buy(
                client,
                journal,
                missing(journal, all_wanted(train, pairs, n, addresses)),
                concurrency=plan.request.sampling.concurrency,
                on_answer=progress.count,
            )
        )
        unanswered = [journal.failure(each.key) for each in missing(journal, all_wanted(train, pairs, n))]
    if len(unanswered) > MAX_UNANSWERED_SHARE * 2 * n:
        raise TooFewPairs(
            f"{len(unanswered)} of {2 * n} answers did not come; the last reason: {unanswered[-1]}. Start the session "
            "again: only the missing ones are asked for."
        )


def make_pairs(workspace: Workspace, plan: Plan, train: Path, n: int, counter: TokenCounter) -> Iterator[Pair]:
    """The first n prompts with both answers from the journal, and which of them are not trained on."""
    assert plan.pairs is not None
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        left = training_prompts(train, n)
        while prompts := list(islice(left, BATCH_ROWS)):
            both = [wanted(prompt, plan.pairs) for prompt in prompts]
            answers = [(journal.find(s.key), journal.find(w.key)) for s, w in both]
            failures = [(journal.failure(s.key), journal.failure(w.key)) for s, w in both]
            counts = counter.count_rows(
                [
                    pair_row(prompt.row, ours.text if ours else "", theirs.text if theirs else "")
                    for prompt, (ours, theirs) in zip(prompts, answers, strict=True)
                ]
            )
            for prompt, (ours, theirs), failed, tokens in zip(prompts, answers, failures, counts, strict=True):
                sides = _side(ours, failed[0], tokens[1]), _side(theirs, failed[1], tokens[2])
                dropped = why_dropped(
                    *sides,
                    plan.pairs.settings,
                    n_prompt_tokens=tokens[0],
                    context_length=plan.request.sweep.max_context_length,
                )
                yield Pair(prompt, ours, theirs, sides, dropped)


def _side(answer: Answer | None, failure: str | None, n_tokens: int) -> Side:
    if answer is None:
        return Side(failure=failure or "not asked", refused=was_refused(failure))
    return Side(
        text=answer.text,
        finish_reason=answer.finish_reason,
        n_tokens=n_tokens,
        thinking_open=answer.thinking_open,
    )


def judge_first_pass(
    workspace: Workspace,
    plan: Plan,
    pairs: Sequence[Pair],
    source: EvaluatorSource | None,
    environment: Path | None,
) -> FirstPass:
    """Whether the strong model wins on the valid pairs of the first prompts, by the run's evaluator if it has one."""
    assert plan.pairs is not None
    drops = Counter(pair.dropped for pair in pairs if pair.dropped is not None)
    kept = [pair for pair in pairs if pair.dropped is None]
    if source is None:
        return first_pass(len(pairs), drops, None, [], [])
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
            unsandboxed=plan.request.unsandboxed_evaluator,
        )
        scores[role] = [answer.score for answer in scored]
    return first_pass(len(pairs), drops, plan.pairs.judged_by, scores[STRONG], scores[WEAK])


@task(cache_policy=NO_CACHE)  # made again from the journal in seconds
def write_pairs(
    platform: FireworksPlatform, workspace: Workspace, plan: Plan, split: Split, found: FirstPass
) -> PairsMade:
    """The pairs, each one's origin, the report, and a new dataset on the platform. Raises TooFewPairs."""
    pairs = plan.pairs
    assert pairs is not None
    counter = pair_counter(platform, workspace, plan)
    drops: Counter[str] = Counter()
    answered: list[tuple[int, int]] = []
    valid: list[tuple[int, int]] = []
    uses = {STRONG: [0, 0, 0], WEAK: [0, 0, 0]}
    raw = workspace.path("pairs/made.jsonl")
    with formats.atomic_file(raw) as rows, formats.atomic_file(workspace.path(PROVENANCE)) as origins:
        for pair in make_pairs(workspace, plan, split.train, pairs.n_prompts, counter):
            strong, weak = pair.sides
            for role, answer in ((STRONG, pair.strong), (WEAK, pair.weak)):
                _add(uses[role], answer)
            if strong.text and weak.text:
                answered.append((strong.n_tokens, weak.n_tokens))
            if pair.dropped is None:
                valid.append((strong.n_tokens, weak.n_tokens))
                rows.write(orjson.dumps(pair_row(pair.prompt.row, strong.text, weak.text)) + b"\n")
            else:
                drops[pair.dropped] += 1
            origins.write(orjson.dumps(provenance(pair, pairs)) + b"\n")
    if len(valid) < MIN_PAIRS:
        reasons = "; ".join(f"{n} × {reason}" for reason, n in drops.most_common())
        raise TooFewPairs(
            f"{pairs.n_prompts} prompts gave {len(valid)} pairs, and at least {MIN_PAIRS} are needed. Left out: "
            f"{reasons}. Look into {workspace.folder / PROVENANCE}, and start a new session with other models or "
            "limits."
        )
    intake = formats.stage(raw, workspace.path(PAIRS))
    made = PairsMade(
        settings=pairs.settings,
        n_prompts=pairs.n_prompts,
        n_valid=intake.n_rows,
        drops=dict(drops.most_common()),
        first_pass=found,
        before=Length.of(answered),
        after=Length.of(valid),
        length_counter=counter.name,
        strong=_use(pairs.strong.name, uses[STRONG]),
        weak=_use(pairs.weak.name, uses[WEAK]),
        sizes={base.model.name: _size(platform, workspace, base.model) for base in plan.bases},
        dataset=_upload(platform, workspace, intake.n_rows),
    )
    workspace.write_text("pairs/report.md", f"# Pairs of session {workspace.session}\n\n{pairs_markdown(made)}\n")
    workspace.write(MADE, made)
    made_before(workspace, plan)
    say(workspace, "pairs", f"{made.n_valid} pairs from {made.n_prompts} prompts, uploaded as {made.dataset}")
    return made


def pair_counter(platform: FireworksPlatform, workspace: Workspace, plan: Plan) -> TokenCounter:
    """What lengths are measured with: the first base model's tokenizer, where it is at hand."""
    return counter_for(tokenizer_folder(platform, workspace, plan.bases[0].model))


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


def provenance(pair: Pair, plan: PairPlan) -> dict[str, Any]:
    """One line of provenance.jsonl: also for what was left out, with why."""
    settings = plan.settings
    models = (plan.strong.name, plan.weak.name)
    return {
        "line": pair.prompt.line,
        "prompt_id": prompt_id(pair.prompt.messages),
        "kept": pair.dropped is None,
        "reason": pair.dropped or "both answers passed every filter; chosen is the strong model's, by construction",
        "sampling": {"temperature": settings.temperature, "max_tokens": settings.max_tokens, "seed": 0},
    } | {
        role: _origin(model, answer, side)
        for role, model, answer, side in zip((STRONG, WEAK), models, (pair.strong, pair.weak), pair.sides, strict=True)
    }


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


def _add(use: list[int], answer: Answer | None) -> None:
    if answer is not None:
        use[0] += 1
        use[1] += answer.prompt_tokens
        use[2] += answer.completion_tokens


def _use(model: str, use: list[int]) -> PairModelUse:
    return PairModelUse(model=model, n_answers=use[0], prompt_tokens=use[1], completion_tokens=use[2])
