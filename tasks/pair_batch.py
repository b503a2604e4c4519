"""Both models' answers by batch inference: half the price, hours to days, and safe to be killed at any moment.

Each job is a part of what is missing, written down as pairs/batch/<job>.json before anything is sent, its calls
announced in the journal under its ID. So whatever dies: a job that was begun is found again and its answers are taken
from it, and what no job has is asked for by a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.adopt import find_or_none
from blocks.bulk import ChatRequest
from blocks.client import FireworksClient
from blocks.errors import Failed, PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal
from blocks.workspace import Workspace
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS, PairPlan, batch_usd
from preference.plan import Plan
from preference.session import resource
from preference.wire import TERMINAL_JOB_STATES, ChatCompletion, Model
from tasks import spending
from tasks.buying import Wanted, answer_of, missing
from tasks.evaluation import JOURNAL
from tasks.pair_models import STRONG, WEAK
from tasks.pair_progress import PairProgress
from tasks.pairs import all_wanted, require_answers
from tasks.progress import say, timed

FOLDER = "pairs/batch"
REQUESTS_A_JOB = 5000  # as many answers are in memory
POLL_S = 10.0
_ONE_TOKEN = Answer(text="", finish_reason=None, prompt_tokens=1, completion_tokens=1)


class Part(BaseModel):
    """One batch job's requests; the file is there before the job is."""

    job: str
    line: str  # of the plan
    model: str
    requests: list[tuple[list[dict[str, Any]], dict[str, Any]]]  # messages and parameters

    def wanted(self) -> list[Wanted]:
        return [Wanted(self.model, self.model, messages, parameters) for messages, parameters in self.requests]


def parts(workspace: Workspace) -> list[Part]:
    """All that were begun, in the order in which they were."""
    files = sorted((workspace.folder / FOLDER).glob("*.json"))
    return [Part.model_validate_json(file.read_bytes()) for file in files]


def open_parts(workspace: Workspace) -> list[Part]:
    """Those whose answers have not all been taken; one that was never announced is announced now."""
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        found = parts(workspace)
        for part in found:
            journal.begin_batch(part.job, [each.key for each in part.wanted()])
        return [part for part in found if journal.open_calls(part.job)]


def needs_more_jobs(workspace: Workspace, train: Path, pairs: PairPlan, n: int) -> bool:
    """Whether jobs were begun before, and there is something that none of them will answer."""
    if not parts(workspace):
        return False
    begun = _keys(open_parts(workspace))
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        return any(each.key not in begun for each in missing(journal, all_wanted(train, pairs, n)))


@task(task_run_name="answer-{n}-prompts-in-batch", cache_policy=NO_CACHE)  # a job that was begun is found again
def buy_in_batch(platform: FireworksPlatform, workspace: Workspace, plan: Plan, train: Path, n: int) -> None:
    """Both models' answers to the first n training prompts, in the journal. Raises TooFewPairs where many fail."""
    pairs = plan.pairs
    assert pairs is not None
    begun = open_parts(workspace)
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        at = {STRONG: pairs.strong.name, WEAK: pairs.weak.name}
        known = _keys(begun)
        left = [each for each in missing(journal, all_wanted(train, pairs, n, at)) if each.key not in known]
        for model, line in ((pairs.strong, STRONG_ANSWERS), (pairs.weak, WEAK_ANSWERS)):
            begun += _new_parts(workspace, journal, model, line, [each for each in left if each.model == model.name])
        with (
            platform.get_client(workspace.session) as client,
            PairProgress(workspace, plan, sum(len(part.requests) for part in begun)) as progress,
            timed(workspace, STRONG_ANSWERS),
            timed(workspace, WEAK_ANSWERS),
        ):
            for part in begun:
                _start(client, workspace, plan, part)
            for part in begun:
                _take(client, workspace, journal, plan, part, progress)
        require_answers(journal, train, pairs, n)


def _keys(some: list[Part]) -> set[str]:
    return {each.key for part in some for each in part.wanted()}


def _new_parts(workspace: Workspace, journal: Journal, model: Model, line: str, left: list[Wanted]) -> Iterator[Part]:
    """Written down and announced, in this order; named by the number of the part."""
    rest = iter({each.key: each for each in left}.values())
    while some := list(islice(rest, REQUESTS_A_JOB)):
        number = len(list((workspace.folder / FOLDER).glob("*.json"))) + 1
        part = Part(
            job=resource(workspace.session, f"pairs-b{number:04d}"),
            line=line,
            model=model.name,
            requests=[(each.messages, dict(each.parameters)) for each in some],
        )
        workspace.write(f"{FOLDER}/{part.job}.json", part)
        journal.begin_batch(part.job, [each.key for each in some])
        yield part


def _start(client: FireworksClient, workspace: Workspace, plan: Plan, part: Part) -> None:
    """Promise its share of the plan's line, and ask for it, or adopt it. Raises OutOfBudget."""
    assert plan.pairs is not None
    high = next(line.usd_high for line in plan.lines if line.what == part.line)
    share = len(part.requests) / plan.pairs.n_prompts
    spending.reserve(workspace, part.job, part.line, None if high is None else high * share)
    requests = [ChatRequest(w.key, w.model, w.messages, w.parameters) for w in part.wanted()]
    job = client.start_batch(part.job, requests, workspace.directory(FOLDER, "files"))
    say(workspace, "pairs", f"batch job {part.job}: {len(requests):,} prompts for {part.model}, {job.state}")


def _take(
    client: FireworksClient, workspace: Workspace, journal: Journal, plan: Plan, part: Part, progress: PairProgress
) -> None:
    """Wait for the job, and put its answers into the journal; what it has none for is journaled as failed."""
    assert plan.pairs is not None
    model = _model(plan.pairs, part)
    calls, wanted = journal.open_calls(part.job), {each.key: each for each in part.wanted()}
    answers: Iterator[tuple[str, ChatCompletion | PlatformError]] = iter(())
    reason = "the batch job has neither an answer nor an error for it"
    with progress.batch() as seen:
        try:
            client.wait_for_batch(part.job, every_s=POLL_S, on_look=seen)
            answers = client.batch_answers(part.job, workspace.directory(FOLDER, "files"))
        except Failed as error:
            reason = f"{type(error).__name__}: {error}"
            say(workspace, "pairs", reason)
    for key, found in answers:
        if (call := calls.pop(key, None)) is not None:
            answer = _journal(journal, call, wanted[key], found, model, plan)
            progress.count(wanted[key], answer)
    for key, call in calls.items():
        journal.fail(call, reason)
        progress.count(wanted[key], None)
    bought = [journal.find(key) for key in wanted]
    spending.settle(workspace, part.job, part.line, _total(bought, model, plan))


def _journal(
    journal: Journal,
    call: int,
    wanted: Wanted,
    found: ChatCompletion | PlatformError,
    model: Model,
    plan: Plan,
) -> Answer | None:
    if not isinstance(found, ChatCompletion) or not found.choices:
        said = f"{type(found).__name__}: {found}" if isinstance(found, PlatformError) else "no choice in it"
        journal.fail(call, said)
        return None
    answer = answer_of(found)
    usd = batch_usd(model, answer.prompt_tokens, answer.completion_tokens, plan.prices)
    answer = answer.model_copy(update={"usd": usd})
    journal.finish(call, wanted.key, wanted.model, wanted.messages, dict(wanted.parameters), answer)
    return answer


def _total(answers: list[Answer | None], model: Model, plan: Plan) -> float | None:
    """By the tokens of what came; None where they have no price."""
    come = [answer for answer in answers if answer is not None]
    tokens = sum(answer.prompt_tokens for answer in come), sum(answer.completion_tokens for answer in come)
    return batch_usd(model, *tokens, plan.prices)


def stop_batches(client: FireworksClient, workspace: Workspace) -> list[str]:
    """End the batch jobs that the session left under way, which the API does by deleting them; those it could not.

    What they had answered is billed and lost, so that their cost is not known.
    """
    left = []
    for part in open_parts(workspace) if (workspace.folder / FOLDER).is_dir() else []:
        try:
            _stop(client, workspace, part)
        except PlatformError as error:
            say(workspace, "pairs", f"batch job {part.job} could not be ended: {error}")
            left.append(part.job)
    return left


def _stop(client: FireworksClient, workspace: Workspace, part: Part) -> None:
    """A job that has ended keeps its answers, which a run that goes on takes."""
    job = find_or_none(lambda: client.get_batch_inference_job(part.job))
    if job is not None and job.state in TERMINAL_JOB_STATES:
        return
    if job is not None:
        client.delete_batch_inference_job(part.job)
        say(workspace, "pairs", f"batch job {part.job} was ended")
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        for call in journal.open_calls(part.job).values():
            journal.fail(call, f"batch job {part.job} was ended before it was done")
    plan = workspace.read("plan.json", Plan)
    free = plan is not None and plan.pairs is not None and _total([_ONE_TOKEN], _model(plan.pairs, part), plan) == 0
    spending.settle(workspace, part.job, part.line, 0.0 if job is None or free else None)


def _model(pairs: PairPlan, part: Part) -> Model:
    return next(model for model in (pairs.strong, pairs.weak) if model.name == part.model)
