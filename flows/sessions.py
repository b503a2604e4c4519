"""How a run begins and how it ends: its folder, its lock, and a truthful report on every way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Completed

from blocks.errors import PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.workspace import FULL_MB, NEEDED_MB, Workspace, space_trouble
from flows import deadlines
from flows.decisions import JudgeNotTrusted, SpendingRejected
from flows.gates import GateTimedOut, RunRejected
from flows.runs import close_abandoned
from preference.contradictions import Contradiction, without_contradictions
from preference.ledger import OutOfBudget
from preference.plan import Plan
from preference.session import Outcome, SessionRecord, SessionState, session_id
from preference.settings import PreferenceForm, PreferenceRequest, Wait
from tasks.deployment import take_down_evaluation
from tasks.pair_batch import stop_batches
from tasks.progress import enter, say
from tasks.reporting import publish_report
from tasks.slots import Slots
from tasks.spending import settle_left_behind
from tasks.training import cancel_jobs

# in a session that goes on; where the plan's page is another then, it is asked about again
MAY_CHANGE = ("budget_usd", "auto_approve_up_to_usd", "auto_promote", "gate_timeout_days")


class CannotStart(RuntimeError):
    """The run cannot begin; the message says what to do."""


@dataclass(frozen=True)
class Ending:
    """How a run that did what it was asked to do ended."""

    outcome: Outcome
    message: str

    def state(self) -> State[None]:
        """Prefect's state: Completed, under the outcome's name where nothing was promoted."""
        names = {
            Outcome.PROMOTED: "Completed",
            Outcome.NOT_PROMOTED: "NotPromoted",
            Outcome.REJECTED: "Rejected",
            Outcome.TIMED_OUT: "TimedOut",
            Outcome.OUT_OF_BUDGET: "OutOfBudget",
        }
        return Completed(name=names[self.outcome], message=self.message)


@dataclass
class Session:
    """What the phases share: the folder, the platform, and the training slots once there are any."""

    request: PreferenceRequest
    workspace: Workspace
    platform: FireworksPlatform
    slots: Slots | None = field(default=None)
    contradictions: list[Contradiction] = field(default_factory=list)  # of the form, to be asked about


def run_session(form: PreferenceForm, phases: Callable[[Session], Ending]) -> State[None]:
    """Open the session, go through the phases, and leave nothing running and a report, whatever happens."""
    request, contradictions = without_contradictions(form)
    workspace = open_workspace(request)
    if trouble := space_trouble(NEEDED_MB):
        raise CannotStart(trouble)
    if request.wait is Wait.SUSPEND:
        _require_somebody_to_go_on()
    with workspace.lock():
        _open(workspace, request)
        session: Session | None = None
        try:
            session = Session(request, workspace, load_platform(request.platform), contradictions=contradictions)
            ending = phases(session)
        except GateTimedOut as error:
            ending = Ending(Outcome.TIMED_OUT, f"{error}. Nothing was started after that; start the run again.")
        except JudgeNotTrusted as error:
            ending = Ending(Outcome.REJECTED, f"{error}.")
        except RunRejected as error:
            ending = Ending(Outcome.REJECTED, str(error))
        except SpendingRejected as error:
            ending = Ending(Outcome.NOT_PROMOTED, f"{error}. What was trained and measured until then is kept.")
        except OutOfBudget as error:
            ending = Ending(Outcome.OUT_OF_BUDGET, str(error))
            _leave(session, workspace, ending.outcome, SessionState.FAILED, ending.message)
            return ending.state()
        except Exception as error:
            reason = space_trouble(FULL_MB) or f"{type(error).__name__}: {error}"
            _leave(session, workspace, Outcome.FAILED, SessionState.FAILED, reason)
            raise
        except Pause:  # suspended at a gate: the session waits, and another process goes on with it
            raise
        except BaseException:  # Ctrl-C, or Prefect's word that the run was cancelled
            _leave(session, workspace, Outcome.CANCELLED, SessionState.CANCELLED, "the run was cancelled")
            raise
        succeeded = ending.outcome in (Outcome.PROMOTED, Outcome.NOT_PROMOTED)
        state = SessionState.SUCCEEDED if succeeded else SessionState.CANCELLED
        enter(workspace, state, ending.outcome, ending.message)
        publish_report(workspace)
        return ending.state()


def _require_somebody_to_go_on() -> None:
    """A suspended run has no process: a worker takes it up again, and another run ends it when nobody answers."""
    if not runtime.deployment.id:
        raise CannotStart("`wait: suspend` needs a run of a deployment, which a worker can take up again: say pause")
    with get_client(sync_client=True) as client:
        if deadlines.deployment_for(client, UUID(str(runtime.flow_run.id))) is None:
            raise CannotStart(deadlines.NO_DEPLOYMENT)


def open_workspace(request: PreferenceForm) -> Workspace:
    """The folder of this flow run's session."""
    context = FlowRunContext.get()
    return workspace_of(request, context.flow_run if context else None)


def workspace_of(request: PreferenceForm, flow_run: FlowRun | None) -> Workspace:
    """The session asked for, else the one that belongs to the flow run, also when that is retried."""
    if request.session:
        return Workspace(request.session)
    if flow_run is None or flow_run.created is None:
        raise CannotStart("a run without a session needs a Prefect flow run to take its identity from")
    return Workspace(session_id(flow_run.created.timestamp(), flow_run.id.hex))


def load_platform(name: str) -> FireworksPlatform:
    """The saved block of that name. Raises CannotStart where there is none."""
    try:
        return cast(FireworksPlatform, FireworksPlatform.load(name))  # a coroutine only in async code
    except ValueError:
        raise CannotStart(
            f"there is no FireworksPlatform block called {name!r}. `make up` saves the one called 'local'; for "
            "Fireworks' cloud, save one with your key, as the README shows."
        ) from None


def _open(workspace: Workspace, request: PreferenceRequest) -> None:
    """Record the session, or take it up again where it was left."""
    flow_run = str(runtime.flow_run.id) if runtime.flow_run.id else None
    record = workspace.read("session.json", SessionRecord)
    if record is None:
        record = SessionRecord(session=workspace.session, request=request, flow_run=flow_run)
    elif record.state in (SessionState.SUCCEEDED, SessionState.CANCELLED):
        raise CannotStart(
            f"session {workspace.session} has ended ({record.state}); its report is in {workspace.folder}. "
            "Start a new one: leave `session` empty."
        )
    else:
        _same_request(record.request, request, workspace.session)
        settle_left_behind(workspace)
        say(workspace, "session", f"going on with session {workspace.session}")
        if record.flow_run and flow_run and record.flow_run != flow_run:
            with get_client(sync_client=True) as client:
                close_abandoned(client, UUID(record.flow_run), UUID(flow_run))
        changed = {name: getattr(request, name) for name in MAY_CHANGE}
        request = record.request.model_copy(update=changed)
        record = record.model_copy(update={"flow_run": flow_run, "request": request})
    workspace.write("session.json", record.model_copy(update={"state": SessionState.RUNNING, "message": ""}))


def _same_request(before: PreferenceRequest, now: PreferenceRequest, session: str) -> None:
    old, new = (r.model_dump(exclude={"session", *MAY_CHANGE}) for r in (before, now))
    changed = [key for key in old if old[key] != new[key]]
    if changed:
        raise CannotStart(
            f"session {session} was begun with another request: {', '.join(changed)} differ. Go on with the same "
            "request, or start a new session."
        )


def _leave(session: Session | None, workspace: Workspace, outcome: Outcome, state: SessionState, message: str) -> None:
    """Stop what runs, take down what costs, record how it ended. What could not be stopped is said."""
    left: list[str] = []
    if session is not None:
        if session.slots is not None:
            session.slots.stop()
        left = stop_everything(session.platform, workspace)
    if left:
        message += f". Still running on the platform, and it may cost: {', '.join(left)}"
    enter(workspace, state, outcome, message)
    publish_report(workspace)


def stop_everything(platform: FireworksPlatform, workspace: Workspace) -> list[str]:
    """Cancel the session's jobs, end its batches and take its evaluation down; what could not be, by ID."""
    plan = workspace.read("plan.json", Plan)
    if workspace.holder() is None:  # its process is gone, perhaps since long ago
        settle_left_behind(workspace)
    try:
        with platform.get_client(workspace.session) as client:
            jobs = cancel_jobs(client, workspace, plan.jobs) if plan else []
            jobs += stop_batches(client, workspace)
            gone = take_down_evaluation(client, workspace)
    except PlatformError as error:
        say(workspace, "session", f"could not look for what still runs: {error}")
        return []
    return jobs + ([] if gone else ["the evaluation deployment"])
