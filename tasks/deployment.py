"""Deployments: one to evaluate on, taken down on every way out; one for the winner, which stays."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.answers import answer_texts
from blocks.client import FireworksClient
from blocks.errors import PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.plan import Plan
from preference.plan_lines import FIRST_HOUR
from preference.session import resource
from preference.standings import Contestant
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


def take_down_evaluation(client: FireworksClient, workspace: Workspace, only: str | None = None) -> bool:
    """Delete the evaluation's deployments, or only one; False, and said, where one may still cost."""
    gone = True
    for span in spending.evaluation_spans(workspace):
        if only not in (None, span.deployment):
            continue
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


@task(
    task_run_name="deploy-winner", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10
)  # safe: its ID was chosen beforehand
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
