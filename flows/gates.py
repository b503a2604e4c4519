"""The pauses of a run, as forms: what is asked, what was answered, and that it is asked once."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from pydantic import ValidationError

from blocks.workspace import Workspace
from flows import deadlines
from flows.forms import PlanAnswer, PlanDecision
from preference.approval import page_sha256, plan_policy, plan_price, told_beside, why_it_waits
from preference.cost import duration_text
from preference.plan import Plan
from preference.plan_page import plan_markdown
from preference.session import SessionRecord, SessionState
from preference.settings import Wait
from tasks.announcing import EventName, announce
from tasks.progress import enter, say

Form = TypeVar("Form", bound=RunInput)
POLL_S = 2  # a resumed run goes on within this
PREFECT_SLACK_S = 86400  # Prefect's time-out fails the run, so it must not come before ours


class GateTimedOut(Exception):
    """Nobody answered a gate in time."""


class RunRejected(Exception):
    """The run ends before there is a plan; the message says why."""


def approve(workspace: Workspace, plan: Plan, *, timeout_days: float) -> PlanAnswer:
    """The plan gate: what a human, or the request's limit, says to the plan with its cost."""
    policy = plan_policy(plan)
    if told := why_it_waits(plan):
        say(workspace, "plan", told)
    return gate(
        workspace,
        PlanAnswer,
        "plan",
        plan_markdown(plan),
        timeout_days=timeout_days,
        facts={"cost": plan_price(plan).model_dump(), "beside": told_beside(plan).model_dump()},
        policy=(policy, PlanAnswer(decision=PlanDecision.APPROVE)) if policy else None,
    )


def gate(
    workspace: Workspace,
    form: type[Form],
    key: str,
    description: str,
    *,
    timeout_days: float,
    facts: dict[str, Any] | None = None,
    policy: tuple[str, Form] | None = None,
    now: str = "",
) -> Form:
    """Pause until a human has answered this form, and give the answer; a policy's answer is taken without a pause.

    An answer is kept under the gate's key and the hash of what was shown, with the facts it was given for. A session
    that goes on after a crash is not asked again about the same page; about another page it is. An answer that the
    form's own checks refuse is asked for again, with the reason on top. Raises GateTimedOut.
    policy: its name and its answer. now: shown below the page and not a part of it, since it may change meanwhile.
    """
    shown_sha256 = page_sha256(description)
    if before := answer_before(workspace, key, description):
        return form.model_validate(before["answer"])
    if policy:
        name, answer = policy
    else:
        # Prefect keeps a key's first answer for ever: another page is another key
        asked, suspend = f"{key}-{shown_sha256[:8]}", _suspends(workspace)
        if not _is_answered(asked, suspend=suspend):
            enter(workspace, SessionState.WAITING)
            say(workspace, key, f"waiting for an answer at the {key} gate")
            waits = f"waits for an answer at the {key} gate"
            announce(workspace, EventName.GATE_WAITING, waits, gate=key, asked_usd=_asked_usd(facts))
        shown = f"{description}\n\n{now}" if now else description
        timeout_s = timeout_days * 86400
        answer = _ask(form, asked, shown, session=workspace.session, timeout_s=timeout_s, suspend=suspend)
        if suspend:
            deadlines.forget(workspace.session)
    run = FlowRunContext.get()
    workspace.append(
        "approvals.jsonl",
        {
            "gate": key,
            "shown_sha256": shown_sha256,
            "answer": answer.model_dump(mode="json"),
            "flow_run": str(run.flow_run.id) if run and run.flow_run else None,
            "policy": name if policy else "",
            **(facts or {}),
        },
    )
    enter(workspace, SessionState.RUNNING)
    by = f" by policy: {name}" if policy else ""
    say(workspace, key, f"answered{by}: {answer.model_dump(mode='json')}")
    decision = str(answer.model_dump(mode="json")["decision"])
    said = f"was answered {decision} at the {key} gate"
    announce(workspace, EventName.GATE_ANSWERED, said, gate=key, decision=decision, by="policy" if policy else "form")
    return answer


def answer_before(workspace: Workspace, key: str, description: str) -> dict[str, Any] | None:
    """The record of this gate's last answer to this page; None where it has none."""
    shown = page_sha256(description)
    given = reversed(workspace.lines("approvals.jsonl"))
    return next((record for record in given if record["gate"] == key and record["shown_sha256"] == shown), None)


def _asked_usd(facts: dict[str, Any] | None) -> float | None:
    """The high estimate of what an approval would allow; None where the gate asks for no money, or it is unknown."""
    found: float | None = (facts or {}).get("cost", {}).get("usd_high")
    return found


def _suspends(workspace: Workspace) -> bool:
    record = workspace.read("session.json", SessionRecord)
    return record is not None and record.request.wait is Wait.SUSPEND


def _flow_run_id() -> UUID:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("a gate can only be asked from within a flow run")
    return context.flow_run.id


def _is_answered(key: str, *, suspend: bool) -> bool:
    """Whether the first try has its answer, as where a suspended run goes on after it."""
    with get_client(sync_client=True) as client:
        return _stored_answer(client, _flow_run_id(), _stored(key, suspend=suspend)) is not None


def _stored(key: str, *, suspend: bool) -> str:
    """The name under which Prefect keeps a question and its answer."""
    return f"{'suspended' if suspend else 'paused'}-{key}"


def _ask(form: type[Form], key: str, description: str, *, session: str, timeout_s: float, suspend: bool) -> Form:
    """Wait for an answer under a key of its own for each try: Prefect keeps a key's first answer for ever.

    Prefect's own time-out would end the run as Failed, so ours comes first. With suspend this process ends here
    (prefect.exceptions.Pause), and a later one finds the answer. Raises GateTimedOut.
    """
    refusal = ""
    for attempt in range(100):
        attempt_key = key if attempt == 0 else f"{key}-{attempt}"
        try:
            answered = _answered(attempt_key, suspend=suspend)
            if answered is not None:
                return form.model_validate_json(answered)
            if _has_fired(attempt_key):
                continue  # its process died there: under this key again, Prefect would not pause but give an empty form
            shown = form.with_initial_data(description=refusal + description)
            if suspend:
                deadlines.schedule(_flow_run_id(), attempt_key, session, _no(form), timeout_s=timeout_s)
                suspend_flow_run(wait_for_input=shown, key=attempt_key)
            return form.model_validate(_pause(shown, attempt_key, _no(form), timeout_s))
        except ValidationError as error:
            told = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            refusal = f"> {told}\n\n"
        except _TimedOut:
            raise GateTimedOut(f"nobody answered the {key.split('-')[0]} gate within {_waited(timeout_s)}") from None
    raise RuntimeError(f"the {key} gate was answered 100 times, and never validly")


def _waited(timeout_s: float) -> str:
    return f"{timeout_s / 86400:.3g} days" if timeout_s >= 2 * 86400 else duration_text(timeout_s)


class _TimedOut(Exception):
    """The deadline answered."""


def _answered(key: str, *, suspend: bool) -> str | None:
    """The stored answer; None where there is none, and then no question of an earlier process is left either."""
    run_id, stored = _flow_run_id(), _stored(key, suspend=suspend)
    with get_client(sync_client=True) as client:
        answer = _stored_answer(client, run_id, stored)
        if answer is None:
            _forget_question(client, run_id, stored)
        elif suspend and deadlines.has_passed(client, run_id, key):
            raise _TimedOut
    return answer


def _has_fired(key: str) -> bool:
    """Whether Prefect has paused this run under the key and still knows it, as after *Retry* in its new UI."""
    with get_client(sync_client=True) as client:
        return key in (client.read_flow_run(_flow_run_id()).empirical_policy.pause_keys or ())


def _pause(shown: type[Form], key: str, no: dict[str, str], timeout_s: float) -> dict[str, Any]:
    with deadlines.PausedDeadline(_flow_run_id(), timeout_s, no) as deadline:
        given = pause_flow_run(
            wait_for_input=shown, timeout=int(timeout_s + PREFECT_SLACK_S), poll_interval=POLL_S, key=key
        )
    if deadline.passed:
        raise _TimedOut
    return given.model_dump()


def _no(form: type[RunInput]) -> dict[str, str]:
    """The answer that starts nothing: every form has it last."""
    choices: Any = form.model_fields["decision"].annotation
    return {"decision": list(choices)[-1]}


def _stored_answer(client: SyncPrefectClient, run_id: UUID, key: str) -> str | None:
    try:
        return client.read_flow_run_input(run_id, f"{key}-response")
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        if _is_absent(error):
            return None
        raise


def _forget_question(client: SyncPrefectClient, run_id: UUID, key: str) -> None:
    """A crash may have left the question behind, and asking it again would be a conflict (Prefect #12279)."""
    for part in ("schema", "description"):
        try:
            client.delete_flow_run_input(run_id, f"{key}-{part}")
        except (ObjectNotFound, PrefectHTTPStatusError) as error:
            if not _is_absent(error):
                raise


def _is_absent(error: Exception) -> bool:
    """Prefect's client says a missing input in two ways."""
    return isinstance(error, ObjectNotFound) or (
        isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 404
    )
