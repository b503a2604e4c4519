"""Phase 3a: training prompts are answered by a strong and a weak model. Bought once, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal
from blocks.workspace import Workspace
from preference.pair_judging import PairVerdict
from preference.pair_plan import PairPlan
from preference.pairs import Side, pair_row, why_dropped
from preference.plan import Plan
from preference.row_index import RowIndex, group_hashes
from preference.settings_models import PairGeneration
from preference.tokens import TokenCounter, counter_for
from tasks.buying import Wanted, buy, missing, was_refused
from tasks.evaluation import JOURNAL
from tasks.inspection import tokenizer_folder
from tasks.pair_models import STRONG, WEAK
from tasks.pair_progress import PairProgress

MADE = "pairs/pairs.json"
DATASET = "pairs/dataset.json"  # the name that was chosen
CANDIDATES = "pairs/candidates.jsonl"  # all that passed the rules, where a judge has the last word
PAIRS = "pairs/pairs.jsonl"
PROVENANCE = "pairs/provenance.jsonl"
BATCH_ROWS = 256
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
    verdict: PairVerdict | None = None  # of a judge that was asked about it


def training_prompts(train: Path, n: int) -> Iterator[Prompt]:
    """The first n distinct prompts in the order of their hashes: the same in any order of rows. Read one by one."""
    index = RowIndex.load(train)
    with train.open("rb") as file:
        for i in group_hashes(index.prompts).first[:n].tolist():
            file.seek(int(index.offsets[i]))
            yield Prompt(int(index.lines[i]), orjson.loads(file.readline()))


def wanted(prompt: Prompt, pairs: PairPlan, addresses: Mapping[str, str] | None = None) -> tuple[Wanted, Wanted]:
    """The strong and the weak model's answer to a prompt; addresses are needed to buy them, not to find them."""
    parameters = sampling_parameters(pairs.settings)
    if tools := prompt.row.get("tools"):
        parameters["tools"] = tools
    at = addresses or {STRONG: "", WEAK: ""}
    return (
        Wanted(pairs.strong.name, at[STRONG], prompt.messages, parameters),
        Wanted(pairs.weak.name, at[WEAK], prompt.messages, parameters),
    )


def sampling_parameters(settings: PairGeneration) -> dict[str, Any]:
    """What both models are asked with; a part of the journal's keys."""
    return {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "seed": 0}


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
        require_answers(journal, train, pairs, n)


def require_answers(journal: Journal, train: Path, pairs: PairPlan, n: int) -> None:
    """Raises TooFewPairs where many of the answers to the first n prompts did not come."""
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


def pair_counter(platform: FireworksPlatform, workspace: Workspace, plan: Plan) -> TokenCounter:
    """What lengths are measured with: the first base model's tokenizer, where it is at hand."""
    return counter_for(tokenizer_folder(platform, workspace, plan.bases[0].model))
