"""The base models of a plan: what the data comes to in each one's tokens, and whom all candidates play."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from preference import wire

BASE = "base"  # the untouched base where there is one; b1, b2, ... where there are several


CHAMPION = "champion"  # the deployed model that a winner must beat


class DataSize(BaseModel):
    """What the plan must know of the data, in rows and in one base model's tokens."""

    n_train: int
    n_held_out: int
    n_selection: int
    n_confirmation: int  # 0 where there are too few prompts for a confirmation half
    train_prompt_tokens: int
    train_chosen_tokens: int
    train_rejected_tokens: int
    held_out_prompt_tokens: int
    longest_tokens: int = 0  # of a prompt with its longer answer; 0: not known
    exact: bool  # counted with the base model's own tokenizer, not estimated
    n_over_context: int  # train rows longer than the context length
    guessed: bool = False  # pairs that are still to be made, see preference/pair_plan.py
    notes: list[str] = []  # rows converted, dropped or left out, each rule with its count
    train_profile: list[dict[str, str]] = []  # the profile's table, for people


class PlannedBase(BaseModel):
    """One base model under its name as a contestant, with the data in its tokens."""

    name: str
    model: wire.Model
    data: DataSize

    @property
    def n_parameters(self) -> int | None:
        details = self.model.base_model_details
        return details.parameter_count if details else None

    @property
    def label(self) -> str:
        return self.model.display_name or self.model.name


class Champion(BaseModel):
    """A tuned model in service, one more contestant on the same prompts; nothing is promoted that does not beat it."""

    model: str  # full name
    base_model: str = ""  # that it was tuned from, by its full name
    base: str  # the planned base that it was tuned from, by its name as a contestant
    asked: str = ""  # what the request says
    promoted_by: str = ""  # the session, where it was found as the last one promoted


def named_bases(models: Sequence[wire.Model], sizes: Sequence[DataSize]) -> list[PlannedBase]:
    """In the order given, which is the order of the trials."""
    names = [BASE] if len(models) == 1 else [f"b{n}" for n in range(1, len(models) + 1)]
    return [PlannedBase(name=n, model=m, data=d) for n, m, d in zip(names, models, sizes, strict=True)]


def common_opponent(bases: Sequence[PlannedBase]) -> str:
    """Whom every candidate and every other base plays: the base with the most parameters, of equals the first.

    Against its own base each candidate would have its own yardstick, and the weakest base would win.
    """
    return max(bases, key=lambda base: base.n_parameters or 0).name
