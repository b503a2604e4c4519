"""The model in service that a winner must beat: the one the request names, or the last that was promoted."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from blocks.client import FireworksClient
from blocks.errors import NotFound
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.bases import Champion, PlannedBase
from preference.plan import Plan
from preference.report_facts import EndpointFacts
from preference.session import Outcome, SessionRecord, is_session_id
from preference.settings import PreferenceRequest
from tasks.progress import say

LAST_PROMOTED = "last promoted"


class NoChampion(ValueError):
    """The champion cannot be compared with; the message says why, and what to change."""


@task(task_run_name="find-champion")
def find_champion(
    platform: FireworksPlatform, workspace: Workspace, request: PreferenceRequest, bases: Sequence[PlannedBase]
) -> Champion | None:
    """None where none is asked for, or where no session has promoted one yet. Raises NoChampion.

    Found once for what the request says: another one that is promoted meanwhile does not change this comparison.
    """
    if not request.champion:
        return None
    kept = workspace.read("champion.json", Champion)
    if kept is not None and kept.asked == request.champion and kept.base_model in {b.model.name for b in bases}:
        return kept.model_copy(update={"base": _named(kept.base_model, bases)})
    name, session = request.champion, ""
    if name.casefold() == LAST_PROMOTED:
        found = last_promoted(workspace, request)
        if found is None:
            return None
        session, name = found
    with platform.get_client() as client:
        champion = _tuned_from(client, name, bases).model_copy(
            update={"promoted_by": session, "asked": request.champion}
        )
    workspace.write("champion.json", champion)
    say(workspace, "plan", f"{champion.model} is the champion")
    return champion


def last_promoted(workspace: Workspace, request: PreferenceRequest) -> tuple[str, str] | None:
    """The newest other session that deployed a model tuned on this dataset on this platform, and that model."""
    here = workspace.folder.parent
    names = [
        f.name
        for f in (here.iterdir() if here.is_dir() else ())
        if is_session_id(f.name) and f.name != workspace.session
    ]
    for name in sorted(names, key=lambda n: int(n.split("-")[0]), reverse=True):
        other = Workspace(name, here.parent)
        try:
            record, planned = other.read("session.json", SessionRecord), other.read("plan.json", Plan)
            endpoint = other.read("deployment.json", EndpointFacts)
        except ValueError:  # of another version, or broken
            continue
        if record is None or planned is None or endpoint is None or record.outcome is not Outcome.PROMOTED:
            continue
        if (planned.request.dataset, planned.platform) == (request.dataset, request.platform):
            return name, endpoint.model
    return None


def _tuned_from(client: FireworksClient, name: str, bases: Sequence[PlannedBase]) -> Champion:
    """The model, which has to be an adapter of one of the bases: it answers on the same deployment as the others."""
    try:
        model = client.resolve_model(name)
    except NotFound as error:
        raise NoChampion(f"the champion {name!r} is not on the platform: {error}") from None
    tuned_from = model.peft_details.base_model if model.peft_details else None
    if tuned_from is None or tuned_from not in {b.model.name for b in bases}:
        planned = ", ".join(b.model.name for b in bases)
        raise NoChampion(
            f"the champion {model.name} is {f'tuned from {tuned_from}' if tuned_from else 'not a tuned model'}, and "
            f"this run tunes {planned}. It is compared where the candidates are served: add its base to base_models, "
            "or name a champion that was tuned from one of them."
        )
    return Champion(model=model.name, base_model=tuned_from, base=_named(tuned_from, bases))


def _named(model: str, bases: Sequence[PlannedBase]) -> str:
    """What the base is called as a contestant."""
    return next(base.name for base in bases if base.model.name == model)
