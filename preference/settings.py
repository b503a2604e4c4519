"""What a user asks of a run: the flow's parameters, the run form's fields, a request file's keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from preference.instruction_guard import check_text
from preference.settings_models import PairGeneration, Sampling, Serving
from preference.settings_sweep import Grid, Method, Strategy


class Wait(StrEnum):
    PAUSE = "pause"
    SUSPEND = "suspend"


class AutoPromote(StrEnum):
    NEVER = "never"
    CLEAR_WINNER = "clear_winner"


class PreferenceForm(BaseModel):
    """One preference-learning run: data, base model, how to train, how to judge."""

    # the run form, field by field; what fields say against each other is asked about (preference/contradictions.py)

    model_config = ConfigDict(title="Preference learning", extra="forbid", hide_input_in_errors=True)  # it may be a key

    instruction: str = Field(
        "",
        title="What to do, in plain English",
        description="Such as: Run DPO on accounts/me/datasets/prefs using Qwen3 8B, for 2 epochs. Budget: under $5. "
        "Fields given below win over it; the plan shows what was understood, and what is missing is asked.",
        json_schema_extra={"position": 0},
    )
    dataset: str = Field(
        "",
        title="Dataset",
        description="Preference pairs, or prompts alone: a dataset on the platform (ID or full name), or a local file.",
        json_schema_extra={"position": 1},
    )
    base_models: list[str] = Field(
        [],
        title="Base models",
        description="What to tune: each by ID, full name or display name. With several, every combination of the "
        "sweep is tried on each. Empty: a sweep over models that the platform can tune, one trial each.",
        json_schema_extra={"position": 2},
    )
    evaluator: str = Field(
        "",
        title="Evaluator",
        description="Scores answers from 0 to 1: an evaluator on the platform, or path/to/file.py::function. "
        "Empty: a judge compares answers in pairs.",
        json_schema_extra={"position": 3},
    )
    rubric: str = Field(
        "",
        title="Rubric",
        description="What makes an answer better, for a judge: best as a list of criteria. Empty, without an "
        "evaluator: the judge writes one from your pairs.",
        json_schema_extra={"position": 4},
    )
    judge: str = Field(
        "",
        title="Judge",
        description="Needed without an evaluator: the name of a saved JudgeEndpoint block, or a model on the "
        "platform. It is tried on labelled pairs before anything is decided by it.",
        json_schema_extra={"position": 5},
    )
    held_out: str = Field(
        "",
        title="Held-out dataset",
        description="Empty: a share of the prompts of the dataset is held out.",
        json_schema_extra={"position": 6},
    )
    platform: str = Field(
        "local",
        title="Platform",
        description="The name of a saved FireworksPlatform block: where training and serving happen.",
        min_length=1,
        json_schema_extra={"position": 7},
    )
    budget_usd: float | None = Field(
        None,
        title="Budget (USD)",
        description="A wall: a step that might pass it is not started, and the run ends with what it has. "
        "None: no limit; choose float to set one. 0 allows only what is free.",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"position": 8},
    )
    target_win_rate: float | None = Field(
        None,
        title="Target: win rate",
        description="Against the opponent, 0 to 1, a tie half: 0.7 is 70 %. Decided on the confirmation half, at the "
        "interval's lower bound. None: no target.",
        gt=0,
        lt=1,
        json_schema_extra={"position": 9},
    )
    target_score: float | None = Field(
        None,
        title="Target: score",
        description="The evaluator's mean score, 0 to 1. None: no target.",
        gt=0,
        lt=1,
        json_schema_extra={"position": 10},
    )
    stop_at_target: bool = Field(
        False,
        title="Stop the sweep at the target",
        description="Once a candidate is known to reach it on the selection prompts, running jobs are cancelled and "
        "waiting ones are not started.",
        json_schema_extra={"position": 11},
    )
    champion: str = Field(
        "",
        title="Champion",
        description="A tuned model that a winner must beat to be promoted: its ID or full name, or 'last promoted' for "
        "the one that the last session with this dataset deployed. Empty: none.",
        json_schema_extra={"position": 12},
    )
    auto_approve_up_to_usd: float | None = Field(
        None,
        title="Approve the plan without asking, up to (USD)",
        description="For unattended runs: where the high estimate, with all that was spent before, does not pass this. "
        "None: always ask. An unknown price always asks.",
        ge=0,
        allow_inf_nan=False,
        json_schema_extra={"position": 13},
    )
    auto_promote: AutoPromote = Field(
        AutoPromote.NEVER,
        title="Promote without asking",
        description="For unattended runs: a clear winner is deployed, anything else is not. Never: always ask.",
        json_schema_extra={"position": 14},
    )
    wait: Wait = Field(
        Wait.PAUSE,
        title="While it waits",
        description="Pause keeps the run's process. Suspend frees it, and a new one goes on after the answer: for "
        "runs that wait for days; only where a deployment is run.",
        json_schema_extra={"position": 15},
    )
    gate_timeout_days: float = Field(
        7.0,
        title="Days to wait for an answer",
        description="A gate that nobody answers ends the run after this, with nothing more spent.",
        gt=0,
        le=365,
        json_schema_extra={"position": 16},
    )
    methods: list[Method] = Field(
        [Method.DPO],
        title="Methods",
        description="DPO, ORPO, or both side by side.",
        min_length=1,
        json_schema_extra={"position": 17},
    )
    strategy: Strategy = Field(
        Strategy.AUTO,
        title="Strategy",
        description="Grid trains every trial on all pairs. Halving trains all on a quarter of them, the better half on "
        "a half, and its better half on all. Tpe draws trials in batches, each from what those before it came to. "
        "Auto: the grid for up to 6 trials and for a sweep that you spell out, else halving.",
        json_schema_extra={"position": 18},
    )
    max_active_jobs: int = Field(
        6, title="Training jobs at once, at most", ge=1, le=64, json_schema_extra={"position": 19}
    )
    sweep: Grid = Field(default_factory=Grid, title="Sweep", json_schema_extra={"position": 20})
    held_out_share: float = Field(
        0.2,
        title="Held-out share",
        description="Read only where there is no held-out dataset.",
        gt=0,
        lt=1,
        json_schema_extra={"position": 21},
    )
    labelled: str = Field(
        "",
        title="Labelled pairs for the judge",
        description="Pairs to try the judge on: a dataset on the platform, or a local file. "
        "Empty: your training pairs.",
        json_schema_extra={"position": 22},
    )
    keep_leaked_prompts: bool = Field(
        False,
        title="Train on held-out prompts, too",
        description="Two datasets may share prompts. No: such training rows are left out. Yes: they are kept, and what "
        "is measured on these prompts flatters the tuned models.",
        json_schema_extra={"position": 23},
    )
    sampling: Sampling = Field(default_factory=Sampling, title="Held-out sampling", json_schema_extra={"position": 24})
    pairs: PairGeneration = Field(
        default_factory=PairGeneration, title="Pairs from prompts", json_schema_extra={"position": 25}
    )
    serving: Serving = Field(default_factory=Serving, title="Serving", json_schema_extra={"position": 26})
    unsandboxed_evaluator: bool = Field(
        False,
        title="Run the evaluator without a sandbox",
        description="Only for code that you trust, on a system that has no sandbox.",
        json_schema_extra={"position": 27},
    )
    session: str = Field(
        "",
        title="Session to go on with",
        description="Empty: a new session. Otherwise the ID of one that was interrupted.",
        pattern=r"^$|^[0-9]+-[0-9a-f]{4}$",
        json_schema_extra={"position": 28},
    )
    second_reading: str = Field(
        "",
        title="Read the instruction a second time with",
        description="The name of a saved JudgeEndpoint block: its model reads the instruction, too, and where the "
        "readings differ you are asked. One call: at once where its price is 0, else after a yes to its price. "
        "Empty: none.",
        json_schema_extra={"position": 29},
    )

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        """`method: X` and `base_model: Y` are what people write for a list of one."""
        if not isinstance(given, dict):
            return given
        for one, many in (("method", "methods"), ("base_model", "base_models")):
            if one not in given:
                continue
            if many in given:
                raise ValueError(f"give {one} or {many}, not both")
            given = {**{k: v for k, v in given.items() if k != one}, many: [given[one]]}
        return given

    @field_validator("instruction", mode="after")
    @classmethod
    def _no_key(cls, text: str) -> str:
        check_text(text)
        return text.strip()

    @field_validator("base_models", mode="after")
    @classmethod
    def _named_base_models(cls, names: list[str]) -> list[str]:
        stripped = [name.strip() for name in names]
        if "" in stripped:
            raise ValueError("a base model without a name: name it, or leave base_models out for a model sweep")
        return list(dict.fromkeys(stripped))

    @field_validator(
        "dataset",
        "evaluator",
        "rubric",
        "judge",
        "labelled",
        "held_out",
        "champion",
        "platform",
        "second_reading",
        mode="after",
    )
    @classmethod
    def _no_outer_blanks(cls, text: str) -> str:
        return text.strip()


class PreferenceRequest(PreferenceForm):
    """One preference-learning run, whose fields fit together: a request file, and what is planned."""

    @model_validator(mode="after")
    def _a_target_to_stop_at(self) -> PreferenceRequest:
        if self.stop_at_target and self.target_win_rate is None and self.target_score is None:
            raise ValueError("stop_at_target needs a target: give target_win_rate or target_score")
        return self

    @model_validator(mode="after")
    def _one_way_to_score(self) -> PreferenceRequest:
        """An evaluator's code, or a judge: what belongs to the other one would be left out silently."""
        beside = [name for name in ("rubric", "judge", "labelled") if getattr(self, name)]
        if self.evaluator and beside:
            raise ValueError(
                f"{' and '.join(beside)} belong to a judge, and evaluator {self.evaluator!r} scores by code: give one "
                "or the other"
            )
        if beside and self.target_score is not None:
            raise ValueError("target_score belongs to an evaluator, and a judge gives no scores: give target_win_rate")
        return self

    @model_validator(mode="after")
    def _a_judge_to_filter_by(self) -> PreferenceRequest:
        if self.evaluator and self.pairs.judge_filter:
            raise ValueError(
                f"pairs.judge_filter asks a judge about each pair, and evaluator {self.evaluator!r} scores by code: "
                "leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _loss_and_strength_fit(self) -> PreferenceRequest:
        """A beta without DPO, or a lambda without ORPO, would be left out silently."""
        for what, given, method in (
            ("betas", self.sweep.betas, Method.DPO),
            ("orpo_lambdas", self.sweep.orpo_lambdas, Method.ORPO),
        ):
            if given and method not in self.methods:
                raise ValueError(
                    f"{what} {', '.join(f'{x:g}' for x in given)} belong to {method}, and methods is "
                    f"{', '.join(self.methods)}: add {method} to methods, or leave {what} out"
                )
        return self
