"""Deployments: one to evaluate on, taken down on every way out; one for the winner, which stays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.answers import answer_texts
from blocks.client import FireworksClient
from blocks.client_serving import evaluation_deployment
from blocks.errors import PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.comparison import BASE, Contestant
from preference.plan import FIRST_HOUR, SAMPLING, Plan
from preference.session import resource
from preference.wire import Deployment
from tasks import spending
from tasks.progress import say, timed


class Endpoint(BaseModel):
    """A served model that has answered a real request."""

    model: str  # full name of the tuned model
    deployment: str
    address: str  # what to put into a request's `model`
    base_url: str  # of the inference API
    question: str
    answer: str


@contextmanager
def evaluation_serving(
    platform: FireworksPlatform, workspace: Workspace, contestants: Sequence[Contestant], plan: Plan
) -> Iterator[Mapping[str, str]]:
    """One deployment of the base with the candidates' adapters on it: addresses by contestant.

    Its ID is chosen by session and written down first, so that whatever dies, it is found again and taken down.
    """
    deployment_id, serving = resource(workspace.session, "eval"), plan.request.serving
    base = next(c for c in contestants if c.name == BASE)
    spec = evaluation_deployment(
        base.model,
        enable_addons=len(contestants) > 1,
        accelerator_type=serving.accelerator_type,
        accelerator_count=serving.accelerator_count,
        display_name=deployment_id,
    )
    spending.begin_evaluation(workspace, plan, deployment_id)
    with platform.get_client(workspace.session) as client, ExitStack() as stack:
        try:
            stack.enter_context(timed(workspace, SAMPLING))
            say(workspace, "evaluate", f"starting deployment {deployment_id}")
            deployment = client.ensure_deployment(deployment_id, spec)
            for contestant in contestants:
                if contestant.name != BASE:
                    load_id = resource(workspace.session, f"eval-{contestant.name}")
                    client.ensure_deployed_model(load_id, contestant.model, deployment.name)
            timeout_s = serving.ready_timeout_minutes * 60
            yield {
                c.name: client.wait_until_serving(c.model, deployment.name, timeout_s=timeout_s) for c in contestants
            }
        finally:
            take_down_evaluation(client, workspace)


def take_down_evaluation(client: FireworksClient, workspace: Workspace) -> bool:
    """Delete the evaluation's deployments, if there are any; False, and said, where one may still cost."""
    gone = True
    for span in spending.evaluation_spans(workspace):
        try:
            for loaded in client.list_deployed_models():
                if loaded.deployment.endswith(f"/{span.deployment}"):
                    client.delete_deployed_model(loaded.name)
            client.delete_deployment(span.deployment)
        except PlatformError as error:
            spending.end_evaluation(workspace, span, spending.asleep_at(datetime.now(UTC)))
            say(workspace, "evaluate", f"deployment {span.deployment} could not be taken down and may cost: {error}")
            gone = False
        else:
            spending.forget_evaluation(workspace, span)
    return gone


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10)  # safe: its ID was chosen beforehand
def deploy_winner(
    platform: FireworksPlatform, workspace: Workspace, winner: Contestant, plan: Plan, question: str
) -> Endpoint:
    """Deploy the tuned model itself and ask it something real. It stays up, and scales to zero when idle."""
    deployment_id, serving = resource(workspace.session, "winner"), plan.request.serving
    spec = Deployment(
        base_model=winner.model,  # a LoRA model here is a live merge: served at the base's speed
        accelerator_type=serving.accelerator_type,
        accelerator_count=serving.accelerator_count,
        min_replica_count=0,
        max_replica_count=1,
        display_name=deployment_id,
    )
    spending.reserve_first_hour(workspace, plan, deployment_id)
    begun = time.monotonic()
    with platform.get_client(workspace.session) as client, timed(workspace, FIRST_HOUR):
        say(workspace, "deploy", f"deploying {winner.model} as {deployment_id}")
        deployment = client.ensure_deployment(deployment_id, spec)
        timeout_s = serving.ready_timeout_minutes * 60
        address = client.wait_until_serving(winner.model, deployment.name, timeout_s=timeout_s)
        completion = client.chat(address, [{"role": "user", "content": question}], max_tokens=128, temperature=0)
    endpoint = Endpoint(
        model=winner.model,
        deployment=deployment.name,
        address=address,
        base_url=f"{platform.base_url.rstrip('/')}/inference/v1",
        question=question,
        answer=answer_texts(completion)[0],
    )
    spending.settle_first_hour(workspace, plan, deployment_id, time.monotonic() - begun)
    workspace.write("deployment.json", endpoint)
    say(workspace, "deploy", f"{address} answered")
    return endpoint
