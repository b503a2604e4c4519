"""A session's side in Prefect: its flow run, the question that it waits at, and the answer that lets it go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterExpectedStartTime
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed

from blocks.workspace import Workspace
from preference.session import SessionRecord, session_id
from preference.settings import PreferenceRequest

FLOW = "preference-learning"
DEPLOYMENT = f"{FLOW}/{FLOW}"
PAGE = 200  # Prefect's most
PATIENCE_S = 60.0  # how long Prefect may be too busy to take an answer


class NotThere(LookupError):
    """No such deployment or run on this Prefect server; the message says what to do."""


class NothingWaits(RuntimeError):
    """There is no question to answer."""


class AnswerRefused(ValueError):
    """The form does not take this answer; the message is Prefect's reason."""


@dataclass(frozen=True)
class Question:
    """What a run waits for: the gate, the page that it shows, and the form's JSON schema."""

    key: str
    page: str
    schema: dict[str, Any]

    @property
    def gate(self) -> str:
        """Such as plan or comparison: the key without the hash of its page."""
        return self.key.split("-")[0]

    def as_json(self) -> dict[str, Any]:
        return {"gate": self.gate, "key": self.key, "page": self.page, "form": self.schema}

    def choices(self, field: str = "decision") -> list[str]:
        """What may be chosen there; [] where the form has no such field, or it is free."""
        return next(([str(choice) for choice in one["enum"]] for one in self._kinds(field) if one.get("enum")), [])

    def takes_text(self, field: str) -> bool:
        return any(one.get("type") == "string" for one in self._kinds(field))

    def _kinds(self, field: str) -> list[Mapping[str, Any]]:
        about = self.schema.get("properties", {}).get(field, {})
        return [self._resolved(one) for one in (about, *about.get("allOf", []), *about.get("anyOf", []))]

    def _resolved(self, about: Mapping[str, Any]) -> Mapping[str, Any]:
        name = str(about.get("$ref", "")).rsplit("/", 1)[-1]
        definitions = {**self.schema.get("$defs", {}), **self.schema.get("definitions", {})}
        found: Mapping[str, Any] = definitions.get(name, about)
        return found


def create_run(client: SyncPrefectClient, request: PreferenceRequest, deployment: str = DEPLOYMENT) -> FlowRun:
    """A new run of the deployment, for a worker to take. Raises NotThere."""
    try:
        found = client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        raise NotThere(
            f"Prefect knows no deployment {deployment!r}. `make up` registers ours; "
            "`prefect deployment ls` lists what is there."
        ) from None
    return client.create_flow_run_from_deployment(
        found.id, parameters={"request": request.model_dump(mode="json", exclude_unset=True)}
    )


def go_on(client: SyncPrefectClient, session: str, old: FlowRun | None, request: PreferenceRequest) -> FlowRun:
    """A new run of the same deployment with the same parameters, on the same session. Raises NotThere.

    The old run's own parameters, since defaults that nobody gave would win over an instruction; the session's request
    where Prefect has no run of it any more.
    """
    if old is None or old.deployment_id is None:
        asked = old.parameters["request"] if old else request.model_dump(mode="json", exclude_defaults=True)
        return create_run(client, PreferenceRequest.model_validate({**asked, "session": session}))
    parameters = {**old.parameters, "request": {**old.parameters["request"], "session": session}}
    try:
        return client.create_flow_run_from_deployment(old.deployment_id, parameters=parameters)
    except ObjectNotFound:
        raise NotThere(f"the deployment of run {old.name} is gone: `make up` registers ours.") from None


def close_abandoned(client: SyncPrefectClient, before: UUID, now: UUID) -> None:
    """A run whose process died is over, in Prefect, too: nobody is to answer its gate any more."""
    try:
        state = client.read_flow_run(before).state
        if state is not None and not state.is_final():
            message = f"its process died; the session goes on in flow run {now}"
            client.set_flow_run_state(before, Crashed(message=message), force=True)
    except ObjectNotFound:
        pass  # another Prefect server's, or deleted there


def session_of(run: FlowRun) -> str:
    """The session that a run works on: the one it was told to go on with, else its own."""
    request = run.parameters.get("request")
    told = request.get("session") if isinstance(request, dict) else None
    if told:
        return str(told)
    created = run.created or datetime.now(UTC)
    return session_id(created.timestamp(), run.id.hex)


def find_run(client: SyncPrefectClient, session: str) -> FlowRun | None:
    """The newest run that works, or will work, on the session; None where this Prefect server has none."""
    record = Workspace(session).read("session.json", SessionRecord)
    known = _read(client, record.flow_run) if record and record.flow_run else None
    if known and known.state and not known.state.is_final():
        return known
    since = datetime.fromtimestamp(int(session.split("-")[0]), UTC) - timedelta(minutes=1)
    for offset in range(0, 100 * PAGE, PAGE):
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
            flow_run_filter=FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=since)),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
            offset=offset,
        )
        found = next((run for run in runs if session_of(run) == session), None)
        if found or len(runs) < PAGE:
            return found or known
    return known


def _read(client: SyncPrefectClient, run_id: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(run_id))
    except ObjectNotFound:
        return None


def question_of(client: SyncPrefectClient, run: FlowRun) -> Question | None:
    """What the run waits for; None where it does not wait, or its question is not stored yet."""
    if run.state is None or run.state.type != StateType.PAUSED:
        return None
    key, names = run.state.state_details.pause_key, run.state.state_details.run_input_keyset
    if not key or not names:
        return None
    try:
        page = client.read_flow_run_input(run.id, names["description"])
        schema = client.read_flow_run_input(run.id, names["schema"])
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code != 404:
            raise
        return None  # Paused comes a moment before the question
    return Question(key=key, page=_text(page), schema=json.loads(schema))


def _text(stored: str) -> str:
    try:
        return str(json.loads(stored))
    except json.JSONDecodeError:
        return stored


def resume(client: SyncPrefectClient, run_id: UUID, answer: Mapping[str, Any]) -> None:
    """Give the waiting run its answer. Raises NothingWaits, or AnswerRefused where the form does not take it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            response = client.resume_flow_run(run_id, run_input=dict(answer))
        except PrefectHTTPStatusError as error:  # SQLite is busy now and then
            if error.response.status_code != 503 or time.monotonic() > deadline:
                raise
        else:
            if response.status == SetStateStatus.ACCEPT:
                return
            reason = str(getattr(response.details, "reason", ""))
            if response.status == SetStateStatus.ABORT:
                raise NothingWaits(f"nothing waits for an answer: {reason}")
            if "schema not found" not in reason or time.monotonic() > deadline:
                raise AnswerRefused(reason)
        time.sleep(0.5)


def run_url(run_id: UUID) -> str:
    """The run's page in Prefect's UI."""
    api = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    return f"{api.removesuffix('/').removesuffix('/api')}/runs/flow-run/{run_id}"
