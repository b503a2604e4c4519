"""Deployments and the adapters loaded on them: their states, and which weights answer for a `model` of a request.

READY is not serving: a deployment answers once the generation child has warmed its model with a one-token request,
and again after it was scaled to zero. Until then the answer is 503 DEPLOYMENT_SCALING_UP, at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from local_server import weights
from local_server.addressing import DEPLOYED_MODELS, DEPLOYMENTS, NOT_DEPLOYED, Addresses, Target
from local_server.billing import Ledger
from local_server.config import Settings
from local_server.errors import ApiError, invalid, precondition
from local_server.generator import Generator
from local_server.models import Models
from local_server.store import Record, Store
from preference.wire import Deployment

logger = logging.getLogger("local_server")

DEFAULT_SCALE_TO_ZERO_S = 3600
RECENT_TRAFFIC_S = 3600  # a deployment used within it is deleted only with ignoreChecks
TICK_S = 15  # how often idle deployments are looked at and running ones are charged

_SCALING_UP = (
    "Deployment is currently scaled to zero and is scaling up. Please retry your request in a few minutes: "
    "{name} will answer once its model is loaded."
)


class Serving:
    def __init__(self, settings: Settings, store: Store, models: Models, generator: Generator, ledger: Ledger) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._addresses = Addresses(settings.home, store, models)
        self._generator = generator
        self._ledger = ledger
        self._warm: dict[str, float] = {}  # deployments whose model has answered in the child that runs now: since when
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last_request: dict[str, float] = {}
        self._charged_until: dict[str, float] = {}
        self._ticker: asyncio.Task[None] | None = None
        generator.on_death = self._on_child_death

    async def start(self) -> None:
        """Warm again what had replicas when the server stopped."""
        for deployment in self._store.all(DEPLOYMENTS):
            if deployment.state == "DELETING":
                self._store.delete(deployment.name)
            elif deployment.body.get("replicaCount") or deployment.state == "CREATING":
                self._store.update(deployment.name, {"replicaCount": 0})
                self._begin(deployment.name)
        self._ticker = asyncio.create_task(self._tick_forever())

    async def close(self) -> None:
        tasks = [task for task in (*self._tasks.values(), self._ticker) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._charge_all()
        await self.end_answers()

    async def end_answers(self) -> None:
        """The server is stopping: what is being answered gets 503; what has a replica is warmed at the next start."""
        self._generator.on_death = lambda: None
        await self._generator.stop()

    def create(self, name: str, spec: Deployment) -> Record:
        """Raises INVALID_ARGUMENT, NOT_FOUND for the model, ALREADY_EXISTS."""
        model = spec.base_model
        base = self._models.base_name(model)
        body = spec.to_json()
        body.update(
            state="CREATING",
            replicaCount=0,
            minReplicaCount=spec.min_replica_count or 0,
            maxReplicaCount=spec.max_replica_count or max(spec.min_replica_count or 0, 1),
            desiredReplicaCount=max(spec.min_replica_count or 0, 1),
        )
        record = self._store.create(name, body, {"base": base})
        self._begin(name)
        return record

    def scale(self, name: str, replicas: int) -> Record:
        """To 0, or up to as many as are allowed: one, since a machine serves a model once."""
        deployment = self._store.get(name)
        if not 0 <= replicas <= max(1, int(deployment.body.get("maxReplicaCount", 1))):
            raise invalid(f"replicaCount must be from 0 to maxReplicaCount, found {replicas}")
        if replicas == 0:
            self._scale_to_zero(name)
        else:
            self._begin(name)
        return self._store.update(name, {"desiredReplicaCount": replicas})

    async def delete(self, name: str, *, ignore_checks: bool) -> None:
        deployment = self._store.get(name)
        recent = self._settings.clock() - self._last_used(deployment) < RECENT_TRAFFIC_S
        if recent and not ignore_checks:
            raise precondition(f"{name} has had traffic within the last hour; delete it with ignoreChecks=true")
        self._scale_to_zero(name)
        for loaded in self._store.all(DEPLOYED_MODELS):
            if loaded.body["deployment"] == name:
                self._store.delete(loaded.name)
        self._store.delete(name)
        await self._stop_if_unused()

    def load_adapter(self, name: str, body: dict[str, Any]) -> Record:
        record = self._store.create(name, {**body, "state": "DEPLOYING"})
        self._begin_loading(name)
        return record

    def resolve(self, model: str) -> Target:
        """The three ways to write `model`. Raises 404 NOT_FOUND or 503 DEPLOYMENT_SCALING_UP."""
        found = self._addresses.find(model)
        if found is None:
            raise ApiError("NOT_FOUND", NOT_DEPLOYED, param="model")
        deployment, served = found
        if deployment.state == "FAILED":
            reason = deployment.body["status"]["message"]
            raise ApiError("FAILED_PRECONDITION", f"{deployment.name} failed: {reason}", status=412)
        if deployment.name not in self._warm:
            self._begin(deployment.name)
            raise ApiError("DEPLOYMENT_SCALING_UP", _SCALING_UP.format(name=deployment.name), status=503)
        self._last_request[deployment.name] = self._settings.clock()
        return self._addresses.target(served, deployment)

    def _begin(self, name: str) -> None:
        """Start to warm a deployment, unless that is under way or done."""
        if name not in self._warm and name not in self._tasks:
            self._run(name, self._warm_up(name))

    def _begin_loading(self, name: str) -> None:
        if name not in self._tasks:
            self._run(name, self._load(name))

    def _run(self, name: str, work: Any) -> None:
        task = self._tasks[name] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._tasks.get(name) is done and self._tasks.pop(name))

    async def _warm_up(self, name: str) -> None:
        deployment = self._store.get(name)
        try:
            entry = self._models.base(deployment.private["base"])
            if entry is None:
                raise ApiError("NOT_FOUND", f"{deployment.private['base']} is no longer in the catalogue")
            await asyncio.to_thread(weights.ensure, entry, self._settings.home)
            self._store.update(name, {"state": "READY", "status": {"code": "OK", "message": ""}})
            await self._one_token(self._addresses.target(deployment.body["baseModel"], deployment))
        except (ApiError, weights.WeightsError) as error:
            self._failed(name, str(error))
            return
        now = self._settings.clock()
        self._warm[name] = now
        self._charged_until[name] = now
        self._store.update(name, {"replicaCount": 1, "desiredReplicaCount": 1})
        logger.info("%s: serving %s", name, deployment.body["baseModel"])
        for loaded in self._store.all(DEPLOYED_MODELS):
            if loaded.body["deployment"] == name and loaded.state == "DEPLOYING":
                self._begin_loading(loaded.name)

    async def _load(self, name: str) -> None:
        """DEPLOYING until the adapter has answered on its deployment; a cold deployment loads it when it is warm."""
        loaded = self._store.get(name)
        deployment = self._store.get(loaded.body["deployment"])
        if deployment.name not in self._warm:
            self._begin(deployment.name)
            return
        try:
            await self._one_token(self._addresses.target(loaded.body["model"], deployment))
            self._store.update(name, {"state": "DEPLOYED", "status": {"code": "OK", "message": ""}})
        except ApiError as error:
            self._failed(name, str(error), state="DEPLOYING")

    async def _one_token(self, target: Target) -> None:
        await self._generator.answer(
            {
                "base_model": str(target.base_folder),
                "adapter": str(target.adapter) if target.adapter else None,
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 1,
                "temperature": 0.0,
                "top_p": None,
                "top_k": None,
                "n": 1,
                "seed": 0,
                "stop": None,
                "logprobs": None,
                "json_schema": None,
                "stream": False,
            }
        )

    def _failed(self, name: str, message: str, state: str = "FAILED") -> None:
        logger.error("%s: %s", name, message)
        with contextlib.suppress(ApiError):
            self._store.update(name, {"state": state, "status": {"code": "INTERNAL", "message": message}})

    def _on_child_death(self) -> None:
        self._charge_all()
        for name in self._warm:
            with contextlib.suppress(ApiError):
                self._store.update(name, {"replicaCount": 0})
        self._warm.clear()
        self._charged_until.clear()

    def _scale_to_zero(self, name: str) -> None:
        if task := self._tasks.pop(name, None):
            task.cancel()
        self._charge(name)
        self._warm.pop(name, None)
        self._charged_until.pop(name, None)
        self._store.update(name, {"replicaCount": 0, "desiredReplicaCount": 0})

    def _last_used(self, deployment: Record) -> float:
        return self._last_request.get(deployment.name, float(deployment.private.get("last_request", 0)))

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Charge what runs, and scale to zero what nobody has asked for a while."""
        self._charge_all()
        for name, since in list(self._warm.items()):
            deployment = self._store.find(name)
            if deployment is None:
                continue
            used = self._last_used(deployment)
            self._store.update(name, private={"last_request": used})
            idle_s = self._settings.clock() - max(used, since)
            if idle_s >= _window_s(deployment) and not deployment.body.get("minReplicaCount"):
                logger.info("%s: scaled to zero after %.0f s without a request", name, idle_s)
                self._scale_to_zero(name)
        await self._stop_if_unused()

    async def _stop_if_unused(self) -> None:
        if not self._warm and not self._tasks and self._generator.in_flight == 0:
            await self._generator.stop()

    def _charge_all(self) -> None:
        for name in list(self._charged_until):
            self._charge(name)

    def _charge(self, name: str) -> None:
        """Seconds of a replica since the last charge; start-up is not charged."""
        now, since = self._settings.clock(), self._charged_until.get(name)
        deployment = self._store.find(name)
        if since is not None and deployment is not None and now > since:
            accelerators = int(deployment.body.get("acceleratorCount") or 1)
            self._ledger.replica(name, deployment.private["base"], now - since, accelerators)
            self._charged_until[name] = now


def _window_s(deployment: Record) -> float:
    """How long a deployment may be idle."""
    policy = Deployment.parse(deployment.body).autoscaling_policy
    window = policy.scale_to_zero_window if policy else None
    return window.total_seconds() if window else DEFAULT_SCALE_TO_ZERO_S
