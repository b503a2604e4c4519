"""The two models that write pairs: chosen for the plan, and deployed while they write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.client_models import FIREWORKS
from blocks.client_serving import evaluation_deployment
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.bases import PlannedBase
from preference.cost import PriceBook
from preference.pair_models import NoModelPair, pick_models
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS, PairJudging, PairPlan
from preference.plan import Plan, PlanRefused
from preference.session import resource
from preference.settings import PreferenceRequest
from tasks import spending
from tasks.deployment import take_down_evaluation
from tasks.inspection import Staged
from tasks.progress import say, timed
from tasks.watching import within_budget

STRONG, WEAK = "strong", "weak"


@task(task_run_name="choose-pair-models", cache_policy=NO_CACHE)
def choose_pair_models(
    platform: FireworksPlatform,
    workspace: Workspace,
    request: PreferenceRequest,
    bases: Sequence[PlannedBase],
    prices: PriceBook,
    judged_by: str | None,
    judging: PairJudging | None = None,
) -> PairPlan | None:
    """Who writes pairs for a dataset of prompts alone; None for one of pairs. Raises PlanRefused or NoModelPair."""
    settings = request.pairs
    staged = workspace.read("dataset/data.staged.json", Staged)
    if staged is None or staged.intake.kind != "prompts":
        if settings.strong or settings.weak or settings.judge_filter:
            raise PlanRefused(
                f"{request.dataset} has pairs already, and pairs.strong, pairs.weak and pairs.judge_filter are for "
                "prompts without answers: leave them out, or give the prompts alone."
            )
        return None
    if request.keep_leaked_prompts:
        raise PlanRefused(
            "keep_leaked_prompts is for pairs that are there: from held-out prompts no pairs are made. Leave it out."
        )
    with platform.get_client() as client:
        if bool(settings.strong) != bool(settings.weak):
            raise NoModelPair("Of the two models that write pairs one is named, and the other one belongs to it.")
        if settings.strong:
            strong, weak = client.resolve_model(settings.strong), client.resolve_model(settings.weak)
        else:
            strong, weak = pick_models(bases[0].model, client.list_models(FIREWORKS), prices, request.serving)
    if strong.name == weak.name:
        raise NoModelPair(f"pairs.strong and pairs.weak are both {strong.name}: between them there is no gap to learn.")
    n_train = bases[0].data.n_train
    return PairPlan(
        strong=strong,
        weak=weak,
        picked=not settings.strong,
        n_prompts=min(n_train, settings.max_prompts or n_train),
        judged_by=judged_by,
        judging=judging,
        settings=settings,
    )


@contextmanager
def pair_serving(platform: FireworksPlatform, workspace: Workspace, plan: Plan) -> Iterator[Mapping[str, str]]:
    """A deployment for each of the two models: addresses by STRONG and WEAK. Taken down on every way out.

    Each is written down as evaluation/<deployment>.json before it is asked for, so whatever dies, it is found again.
    """
    assert plan.pairs is not None
    serving = plan.request.serving
    wanted = {STRONG: (plan.pairs.strong, STRONG_ANSWERS), WEAK: (plan.pairs.weak, WEAK_ANSWERS)}
    with platform.get_client(workspace.session) as client, within_budget(client, workspace), ExitStack() as stack:
        try:
            made = {}
            for role, (model, line) in wanted.items():
                deployment_id = resource(workspace.session, f"pairs-{role}")
                spending.begin_evaluation(workspace, plan, deployment_id, category=line)
                stack.enter_context(timed(workspace, line))
                say(workspace, "pairs", f"starting deployment {deployment_id} of {model.name}")
                spec = evaluation_deployment(
                    model.name,  # a LoRA model here is a live merge
                    accelerator_type=serving.accelerator_type,
                    accelerator_count=serving.accelerator_count,
                    display_name=deployment_id,
                )
                made[role] = client.ensure_deployment(deployment_id, spec).name
            timeout_s = serving.ready_timeout_minutes * 60
            yield {
                role: client.wait_until_serving(model.name, made[role], timeout_s=timeout_s)
                for role, (model, _) in wanted.items()
            }
        finally:
            take_down_evaluation(client, workspace)
