"""Where contestants are asked: one deployment a base, started when it is first needed, with adapters as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from blocks.client import FireworksClient
from blocks.client_serving import evaluation_deployment
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.plan import Plan
from preference.plan_lines import evaluation_starts
from preference.session import resource
from preference.standings import Contestant
from preference.wire import Deployment
from tasks import spending
from tasks.deployment import take_down_evaluation
from tasks.progress import say
from tasks.watching import within_budget


class EvaluationServing:
    """The session's deployments to evaluate on, by base. For one thread: the flow's own."""

    def __init__(
        self, client: FireworksClient, workspace: Workspace, plan: Plan, before_first: Callable[[], None]
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._plan = plan
        self._before_first = before_first
        self._asked = False
        self._up: dict[str, Deployment] = {}
        self._addresses: dict[str, str] = {}

    def addresses(self, contestants: Sequence[Contestant]) -> Mapping[str, str]:
        """What to put into a request's `model`, by contestant; each has answered. Deployments are started for it."""
        timeout_s = self._plan.request.serving.ready_timeout_minutes * 60
        loaded: list[tuple[Contestant, str]] = []
        for contestant in contestants:
            if contestant.name in self._addresses:
                continue
            deployment = self._deployment(contestant.base)
            if not contestant.is_base:
                load_id = resource(self._workspace.session, f"eval-{contestant.name}")
                self._client.ensure_deployed_model(load_id, contestant.model, deployment.name)
            loaded.append((contestant, deployment.name))
        for contestant, on in loaded:
            address = self._client.wait_until_serving(contestant.model, on, timeout_s=timeout_s)
            self._addresses[contestant.name] = address
        return {c.name: self._addresses[c.name] for c in contestants}

    def release_all(self) -> None:
        """Take them down, so that none idles; they are started again where they are asked for."""
        up, self._up, self._addresses = self._up, {}, {}
        for base in up:
            take_down_evaluation(self._client, self._workspace, only=self._id(base))

    def _deployment(self, base: str) -> Deployment:
        """Its ID is chosen by session and written down first, so that whatever dies, it is found and taken down."""
        if base not in self._up:
            serving, deployment_id = self._plan.request.serving, self._id(base)
            spec = evaluation_deployment(
                next(b.model.name for b in self._plan.bases if b.name == base),
                enable_addons=True,
                accelerator_type=serving.accelerator_type,
                accelerator_count=serving.accelerator_count,
                display_name=deployment_id,
            )
            if not self._asked:
                self._before_first()
                self._asked = True
            plan = self._plan
            share = 1 / evaluation_starts(plan.request, len(plan.trials), plan.bases, plan.n_trainings)
            spending.begin_evaluation(self._workspace, self._plan, deployment_id, share)
            say(self._workspace, "evaluate", f"starting deployment {deployment_id}")
            self._up[base] = self._client.ensure_deployment(deployment_id, spec)
        return self._up[base]

    def _id(self, base: str) -> str:
        role = "eval" if len(self._plan.bases) == 1 else f"eval-{base}"
        return resource(self._workspace.session, role)


@contextmanager
def evaluation_serving(
    platform: FireworksPlatform, workspace: Workspace, plan: Plan, *, before_first: Callable[[], None]
) -> Iterator[EvaluationServing]:
    """Deployments to evaluate on; all of them are taken down on every way out. before_first: called before the first
    one is started, and may raise.
    """
    with platform.get_client(workspace.session) as client, within_budget(client, workspace):
        try:
            yield EvaluationServing(client, workspace, plan, before_first)
        finally:
            take_down_evaluation(client, workspace)
