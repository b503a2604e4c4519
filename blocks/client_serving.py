"""Deployments and adapters on them: made once, ready when a request is answered, taken down only if ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from blocks.adopt import create_or_adopt, find_or_none
from blocks.client_base import ClientBase, filled
from blocks.connection import waits_s
from blocks.errors import (
    Failed,
    NotFound,
    NotOurs,
    NotReached,
    Overdue,
    PlatformError,
    Refused,
    Unavailable,
)
from preference.wire import AutoscalingPolicy, ChatCompletion, DeployedModel, Deployment

QUANTIZED = ("FP8", "FP4")
EVALUATION_SCALE_TO_ZERO = timedelta(minutes=5)  # the API's least; idle replicas are billed until then

# docs.fireworks.ai, deployments/autoscaling: first 5 s, 1.5 times longer each time, at most 60 s
SCALING_WAITS = (5.0, 1.5, 60.0)


class Serving(ClientBase):
    _addresses: dict[str, str]  # model -> the form of `model` that was answered

    def create_deployment(
        self, deployment_id: str, spec: Deployment, *, accept_shapeless_risk: bool | None = None
    ) -> Deployment:
        """POST deployments?deploymentId=. A LoRA model as base_model means a live merge."""
        check_deployment(spec)
        query = {
            "deploymentId": self._new_id(deployment_id),
            "acceptShapelessRisk": accept_shapeless_risk,
        }
        return Deployment.parse(
            self._connection.send("POST", self._collection("deployments"), params=filled(query), json=_settable(spec))
        )

    def get_deployment(self, name: str) -> Deployment:
        """GET deployments/{name}."""
        return Deployment.parse(self._connection.send("GET", self._path("deployments", name)))

    def list_deployments(self, **query: Any) -> list[Deployment]:
        """GET deployments, all pages."""
        return [Deployment.parse(d) for d in self._pages(self._collection("deployments"), "deployments", **query)]

    def scale_deployment(self, name: str, replica_count: int) -> None:
        """PATCH deployments/{name}:scale, if a session of ours made it."""
        self._touchable("deployments", name)
        self._connection.send("PATCH", self._path("deployments", name, "scale"), json={"replicaCount": replica_count})

    def delete_deployment(self, name: str) -> None:
        """DELETE deployments/{name}, if a session of ours made it; already gone is fine.

        ignoreChecks, since one with traffic in the last hour is refused otherwise. Where it is refused all
        the same, it is scaled to zero, so that it stops costing, before the refusal is raised.
        """
        try:
            self._delete("deployments", name, ignoreChecks="true")
        except NotOurs:
            raise
        except Refused:
            self.scale_deployment(name, 0)
            raise

    def ensure_deployment(
        self, deployment_id: str, spec: Deployment, *, accept_shapeless_risk: bool | None = None
    ) -> Deployment:
        """The deployment with this ID and this spec, made now or by an earlier call; not yet serving."""
        return create_or_adopt(
            self._connection,
            f"deployment {deployment_id}",
            Deployment.parse(_settable(spec)),
            lambda: self.create_deployment(deployment_id, spec, accept_shapeless_risk=accept_shapeless_risk),
            lambda: find_or_none(lambda: self.get_deployment(deployment_id)),
        )

    def create_deployed_model(self, model: str, deployment: str, *, display_name: str | None = None) -> DeployedModel:
        """POST deployedModels: load an adapter onto a deployment. LoRA is never serverless."""
        body = DeployedModel(
            model=model,
            deployment=self._full("deployments", deployment),
            display_name=display_name,
            serverless=False,
        )
        return DeployedModel.parse(
            self._connection.send("POST", self._collection("deployedModels"), json=_settable(body))
        )

    def get_deployed_model(self, name: str) -> DeployedModel:
        """GET deployedModels/{name}."""
        return DeployedModel.parse(self._connection.send("GET", self._path("deployedModels", name)))

    def list_deployed_models(self, **query: Any) -> list[DeployedModel]:
        """GET deployedModels, all pages."""
        path = self._collection("deployedModels")
        return [DeployedModel.parse(m) for m in self._pages(path, "deployedModels", **query)]

    def delete_deployed_model(self, name: str) -> None:
        """DELETE deployedModels/{name}: unload an adapter that we loaded or that is ours."""
        try:
            loaded = self.get_deployed_model(name)
        except NotFound:
            return
        if not (loaded.display_name or "").startswith(self._ours):
            self._touchable("deployments", loaded.deployment)
        self._connection.send("DELETE", self._path("deployedModels", name))

    def ensure_deployed_model(self, load_id: str, model: str, deployment: str) -> DeployedModel:
        """The adapter on the deployment, loaded now or earlier; not yet serving.

        The platform names these itself, so `load_id` is the display name, and what finds an earlier load is
        the pair of model and deployment: a lost answer is settled by a look at the list.
        """
        on = self._full("deployments", deployment)

        def find() -> DeployedModel | None:
            return next((m for m in self.list_deployed_models() if (m.model, m.deployment) == (model, on)), None)

        return find() or create_or_adopt(
            self._connection,
            f"adapter {model} on {on}",
            DeployedModel(model=model, deployment=on),
            lambda: self.create_deployed_model(model, on, display_name=self._new_id(load_id)),
            find,
        )

    def address(self, model: str) -> str:
        """What to put into a request's `model` to reach it: the form that was answered, else as given."""
        return self._addresses.get(model, model)

    def wait_until_serving(self, model: str, deployment: str | None = None, *, timeout_s: float = 3600) -> str:
        """Wait until a one-token request is answered; returns, and remembers, the address that was.

        READY is not serving, and a 404 may be an adapter that is still loading: both are waited out.
        Failed where the deployment ends in a failed state; Overdue after timeout_s.
        """
        on = self._full("deployments", deployment) if deployment else None
        forms = addresses(model, self.get_deployment(on)) if on else [model]
        deadline = self._connection.clock() + timeout_s
        first_s, factor, longest_s = SCALING_WAITS
        waits = waits_s(first_s, factor, longest_s)
        while True:
            answered, trouble = self._first_answered(forms)
            if answered:
                self._addresses[model] = answered
                return answered
            if on:
                _not_failed(self.get_deployment(on))
            if self._connection.clock() >= deadline:
                raise Overdue(
                    f"{model} answers no request {timeout_s:g} s after we began to ask. "
                    f"The last answer: {trouble} "
                    "Its deployment was left as it is, and may cost: delete it, or wait longer."
                )
            self._connection.sleep(trouble.retry_after_s or next(waits))

    def _first_answered(self, forms: list[str]) -> tuple[str | None, PlatformError]:
        """The first form that is answered now, or None and the last trouble."""
        trouble: PlatformError = NotFound("it was not asked for")
        for n, form in enumerate(forms):
            try:
                self._one_token(form)
            except NotFound as error:
                trouble = error  # another form may be the right one
            except (Unavailable, NotReached) as error:
                return None, error
            else:
                # one asked before may have begun to answer meanwhile, and is to be preferred
                earlier, _ = self._first_answered(forms[:n]) if n else (None, None)
                return earlier or form, trouble
        return None, trouble

    def _one_token(self, model: str) -> ChatCompletion:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        return ChatCompletion.model_validate(self._connection.send("POST", "/inference/v1/chat/completions", json=body))


def addresses(model: str, deployment: Deployment) -> list[str]:
    """The forms of `model` that may reach it on the deployment, in the order to try them.

    Only forms that cannot reach something else: a bare deployment with addons answers as the base model.
    """
    both = f"{model.split('#')[0]}#{deployment.name}"
    if deployment.base_model != model:
        return [both, model]  # an adapter on a base
    if is_own_model(model, deployment):
        return [model, both, deployment.name]  # live merge: docs, cookbook, notebook
    return [deployment.name, both]  # a base model; its bare name would be the shared serverless one


def is_own_model(model: str, deployment: Deployment) -> bool:
    """Whether the model belongs to the deployment's account, so is tuned or uploaded and not Fireworks'."""
    return model.split("/")[:2] == deployment.name.split("/")[:2]


def evaluation_deployment(base_model: str, **settings: Any) -> Deployment:
    """A deployment for evaluation: nothing runs until asked, nor 5 minutes after the last request."""
    policy = AutoscalingPolicy(scale_to_zero_window=EVALUATION_SCALE_TO_ZERO)
    defaults = {"min_replica_count": 0, "max_replica_count": 1, "autoscaling_policy": policy}
    return Deployment(base_model=base_model, **{**defaults, **settings})


def check_deployment(spec: Deployment) -> None:
    """Refused, with what the platform would refuse after minutes."""
    precision = (spec.precision or "").upper()
    if spec.enable_addons and precision.startswith(QUANTIZED):
        raise Refused(
            f"this deployment was not sent: adapters cannot be loaded onto {precision} weights. "
            "Ask for BF16, or deploy the tuned model itself (live merge)."
        )
    window = spec.autoscaling_policy.scale_to_zero_window if spec.autoscaling_policy else None
    if window is not None and window < EVALUATION_SCALE_TO_ZERO:
        raise Refused(f"this deployment was not sent: scale_to_zero_window is {window}; 5 minutes is the least.")


def _not_failed(deployment: Deployment) -> None:
    if deployment.state in ("FAILED", "DELETING", "DELETED"):
        said = f": {deployment.status.code}: {deployment.status.message}" if deployment.status else ""
        raise Failed(f"{deployment.name} is {deployment.state}{said}. Delete it and deploy again, or ask support.")


def _settable(spec: Deployment | DeployedModel) -> dict[str, Any]:
    return {k: v for k, v in spec.to_json().items() if k not in ("name", "state", "status")}
