"""Which deployment and which weights a `model` in a request means. Three ways to write it are in use:

accounts/A/deployments/D, accounts/A/models/M#accounts/A/deployments/D, and accounts/A/models/M for a live merge or
for the adapter's default deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local_server import weights
from local_server.config import ACCOUNT
from local_server.errors import ApiError
from local_server.models import Models
from local_server.store import Record, Store

DEPLOYMENTS = f"accounts/{ACCOUNT}/deployments"
DEPLOYED_MODELS = f"accounts/{ACCOUNT}/deployedModels"
NOT_DEPLOYED = "Model not found, inaccessible, and/or not deployed"


@dataclass(frozen=True)
class Target:
    """What answers a request."""

    model: str  # full name of the base or tuned model
    base_model: str
    deployment: str
    base_folder: Path
    adapter: Path | None


class Addresses:
    def __init__(self, home: Path, store: Store, models: Models) -> None:
        self._home = home
        self._store = store
        self._models = models

    def find(self, model: str) -> tuple[Record, str] | None:
        """The deployment that answers for `model`, and the model that it answers with; None: not deployed."""
        name, _, deployment_name = model.partition("#")
        if name.startswith(f"{DEPLOYMENTS}/"):
            deployment = self._store.find(name)
            return (deployment, deployment.body["baseModel"]) if deployment else None
        if deployment_name:
            deployment = self._store.find(deployment_name)
            return (deployment, name) if deployment and self._serves(deployment, name) else None
        deployment = self._live_merge(name) or self._default(name)
        return (deployment, name) if deployment else None

    def target(self, model: str, deployment: Record) -> Target:
        """Raises NOT_FOUND if the base model has left the catalogue."""
        base = deployment.private["base"]
        entry = self._models.base(base)
        if entry is None:
            raise ApiError("NOT_FOUND", NOT_DEPLOYED, param="model")
        folder = weights.ensure(entry, self._home)  # made when the deployment was; only looked up here
        return Target(model, base, deployment.name, folder, self._models.adapter_folder(model))

    def _serves(self, deployment: Record, model: str) -> bool:
        loaded = (one for one in self._loaded(model) if one.body["deployment"] == deployment.name)
        return deployment.body["baseModel"] == model or any(loaded)

    def _live_merge(self, model: str) -> Record | None:
        if self._models.adapter_folder(model) is None:
            return None  # a base model: its name alone would mean serverless
        return next((one for one in self._store.all(DEPLOYMENTS) if one.body["baseModel"] == model), None)

    def _default(self, model: str) -> Record | None:
        default = next((one for one in self._loaded(model) if one.body.get("default")), None)
        return self._store.find(default.body["deployment"]) if default else None

    def _loaded(self, model: str) -> list[Record]:
        """Where an adapter is loaded; until it is, its name is unknown."""
        return [
            one for one in self._store.all(DEPLOYED_MODELS) if one.body["model"] == model and one.state == "DEPLOYED"
        ]
