"""What a session has on the platform: found by its name, stopped, and removed; never anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from blocks.client import FireworksClient
from blocks.workspace import Workspace
from preference.report_facts import EndpointFacts
from preference.session import resource
from preference.wire import TERMINAL_JOB_STATES, resource_id


class Holding(NamedTuple):
    """One thing on the platform, by its full name."""

    kind: str  # deployment, adapter, job, model, dataset, evaluator, batch job
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {resource_id(self.name)}"


def holdings(client: FireworksClient, session: str) -> list[Holding]:
    """All that the session made and that is still there, in the order in which it can be removed.

    By name alone, as a crash may have left it: everything of a session is called pw-<session>-<role>.
    """

    def ours(name: str) -> bool:
        return resource_id(name).startswith(resource(session, "x")[:-1])

    def named(kind: str, names: Iterable[str]) -> list[Holding]:
        return [Holding(kind, name) for name in names if ours(name)]

    loaded = [m.name for m in client.list_deployed_models() if ours(m.deployment)]
    return [
        *[Holding("adapter", name) for name in loaded],
        *named("deployment", (d.name for d in client.list_deployments())),
        *named("job", (j.name for j in client.list_dpo_jobs())),
        *named("batch job", (j.name for j in client.list_batch_inference_jobs())),
        *named("model", (m.name for m in client.list_models())),
        *named("dataset", (d.name for d in client.list_datasets())),
        *named("evaluator", (e.name for e in client.list_evaluators())),
    ]


def remove(client: FireworksClient, holding: Holding) -> None:
    """Delete it; the client refuses what the session did not make."""
    delete: dict[str, Callable[[str], None]] = {
        "adapter": client.delete_deployed_model,
        "deployment": client.delete_deployment,
        "job": client.delete_dpo_job,
        "batch job": client.delete_batch_inference_job,
        "model": client.delete_model,
        "dataset": client.delete_dataset,
        "evaluator": client.delete_evaluator,
    }
    delete[holding.kind](holding.name)


def serving(workspace: Workspace, found: Iterable[Holding]) -> list[Holding]:
    """Those of them that serve the winner: its deployment, its adapter, its model."""
    endpoint = workspace.read("deployment.json", EndpointFacts)
    deployment = endpoint.deployment if endpoint else resource(workspace.session, "winner")
    kept = {resource_id(deployment), resource_id(endpoint.model) if endpoint else ""}
    return [h for h in found if h.kind in ("deployment", "model", "adapter") and resource_id(h.name) in kept]


def under_way(client: FireworksClient, session: str) -> list[Holding]:
    """What of it works or waits at the platform's cost: jobs that have not ended, and what is deployed for a while.

    All that the session deploys is, but for the winner: contestants, a judge, the strong and the weak model.
    """
    ended = {j.name for j in client.list_dpo_jobs() if j.state in TERMINAL_JOB_STATES}
    ended |= {j.name for j in client.list_batch_inference_jobs() if j.state in TERMINAL_JOB_STATES}
    stays = resource(session, "winner")
    return [
        h
        for h in holdings(client, session)
        if (h.kind in ("job", "batch job") and h.name not in ended)
        or (h.kind == "deployment" and resource_id(h.name) != stays)
    ]
