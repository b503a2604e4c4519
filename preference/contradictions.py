"""What the run form's fields say against each other, as questions: no schema can refuse that, nor should a run fail.

A request file with the same fault is refused at once (PreferenceRequest), since its author is there.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from preference.instruction_reading import Question
from preference.settings import PreferenceForm, PreferenceRequest
from preference.settings_sweep import Method


class Contradiction(BaseModel):
    """A question, and what its answer does to the fields that are set aside until then."""

    question: Question
    aside: list[str]  # fields, dotted where nested
    if_answered: dict[str, Any] = {}  # beside the answer itself
    if_empty: dict[str, Any] = {}

    def settled(self, answers: dict[str, Any]) -> dict[str, Any]:
        """The fields, once the question was answered, or its line was left empty on purpose."""
        return self.if_answered if self.question.field in answers else self.if_empty


def without_contradictions(form: PreferenceForm) -> tuple[PreferenceRequest, list[Contradiction]]:
    """The form as a request, with the fields that contradict each other set aside, and the questions about them."""
    found = [one for one in (_scoring(form), _strength(form)) if one]
    aside = {name for one in found for name in one.aside}
    if "stop_at_target" not in aside and (stop := _stop(form)):
        found.append(stop)
        aside |= set(stop.aside)
    data = form.model_dump(exclude_unset=True)
    for name in aside:
        owner, _, inner = name.partition(".")
        if inner:
            data[owner].pop(inner)
        else:
            data.pop(name, None)
    return PreferenceRequest.model_validate(data), found


def _scoring(form: PreferenceForm) -> Contradiction | None:
    """An evaluator's code, or a judge; a judge gives no scores that a target could be set for."""
    judging = {name: getattr(form, name) for name in ("rubric", "judge", "labelled") if getattr(form, name)}
    target = {"target_score": form.target_score} if form.target_score is not None else {}
    stop = {"stop_at_target": True} if form.stop_at_target and (target or form.target_win_rate is not None) else {}
    asking = {**judging, **({"pairs.judge_filter": True} if form.pairs.judge_filter else {})}
    if form.evaluator and asking:
        lost = " The target score is left out then." if target else ""
        return Contradiction(
            question=Question(
                field="evaluator",
                text=f"An evaluator scores by code, and what belongs to a judge was given, too ({', '.join(asking)}). "
                f"To score by code, name the evaluator again ({form.evaluator}). Empty: a judge compares.{lost}",
                words="",
            ),
            aside=["evaluator", *asking, *target, *stop],
            if_answered={**target, **stop},
            if_empty={**asking, **(stop if form.target_win_rate is not None else {})},
        )
    if judging and target:
        return Contradiction(
            question=Question(
                field="target_win_rate",
                text="A judge gives no scores, and a target score was given. Which win rate is the target, such as "
                "70%? Empty: as if there were no target score.",
                words="",
            ),
            aside=[*target, *stop],
            if_answered=stop,
            if_empty=stop if form.target_win_rate is not None else {},
        )
    return None


def _strength(form: PreferenceForm) -> Contradiction | None:
    """A beta without DPO, or a lambda without ORPO."""
    for what, given, method in (
        ("betas", form.sweep.betas, Method.DPO),
        ("orpo_lambdas", form.sweep.orpo_lambdas, Method.ORPO),
    ):
        if given and method not in form.methods:
            return Contradiction(
                question=Question(
                    field="methods",
                    text=f"{what.removeprefix('orpo_').capitalize()} {', '.join(f'{x:g}' for x in given)} belong to "
                    f"{method}, and the method is {', '.join(form.methods)}. Which one: DPO, ORPO, or DPO and ORPO? "
                    "Empty: they are left out.",
                    words="",
                ),
                aside=[f"sweep.{what}"],
                if_answered={f"sweep.{what}": given},
            )
    return None


def _stop(form: PreferenceForm) -> Contradiction | None:
    if not form.stop_at_target or form.target_win_rate is not None or form.target_score is not None:
        return None
    return Contradiction(
        question=Question(
            field="target_win_rate",
            text="The sweep is to stop at its target, and none was given. Which win rate, such as 70%? Empty: it does "
            "not stop early.",
            words="",
        ),
        aside=["stop_at_target"],
        if_answered={"stop_at_target": True},
    )
