"""What a user asks of a run: the flow's parameters, the run form's fields, a request file's keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from preference.instruction_guard import check_text

RANKS = (1, 2, 4, 8, 16, 32)
BETA_BELOW = 0.5  # larger ones belong to a loss that the platform does not have


class Method(StrEnum):
    DPO = "DPO"
    ORPO = "ORPO"


class Strategy(StrEnum):
    AUTO = "auto"
    GRID = "grid"
    HALVING = "halving"
    TPE = "tpe"


class Wait(StrEnum):
    PAUSE = "pause"
    SUSPEND = "suspend"


class AutoPromote(StrEnum):
    NEVER = "never"
    CLEAR_WINNER = "clear_winner"


class Grid(BaseModel):
    """Every combination of these is one trial. Empty lists have defaults by the model's size."""

    # bounds that a form can refuse stand in its schema, too: _within_the_api has the words for files and programs

    model_config = ConfigDict(title="Sweep", extra="forbid")

    learning_rates: list[float] = Field(
        [],
        title="Learning rates",
        description="Empty: by the model's size, three of them where nothing else is given here.",
        json_schema_extra={"position": 0, "items": {"type": "number", "exclusiveMinimum": 0}},
    )
    betas: list[float] = Field(
        [],
        title="Betas (DPO)",
        description="Each above 0 and below 0.5. Higher keeps closer to the base model. Empty: 0.1, and 0.3 where "
        "nothing else is given here.",
        json_schema_extra={
            "position": 1,
            "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": BETA_BELOW},
        },
    )
    orpo_lambdas: list[float] = Field(
        [],
        title="Lambdas (ORPO)",
        description="Empty: 1.",
        json_schema_extra={"position": 2, "items": {"type": "number", "exclusiveMinimum": 0}},
    )
    lora_ranks: list[int] = Field(
        [],
        title="LoRA ranks",
        description="Empty: 8.",
        json_schema_extra={"position": 3, "items": {"type": "integer", "enum": list(RANKS)}},
    )
    epochs: list[int] = Field(
        [],
        title="Epochs",
        description="Empty: 1.",
        json_schema_extra={"position": 4, "items": {"type": "integer", "minimum": 1}},
    )
    batch_size: int = Field(
        4,  # the API's default for DPO
        title="Pairs per optimizer step",
        ge=1,
        json_schema_extra={"position": 5},
    )
    max_context_length: int = Field(
        2048,
        title="Context length (tokens)",
        description="A multiple of 16. Pairs that are longer may be refused. Where a base model takes less than the "
        "default, that is what it gets, and the plan says so.",
        ge=16,
        json_schema_extra={"position": 6, "multipleOf": 16},
    )
    n_trials: int = Field(
        12,  # two batches of six: one that looks around, one that has learned from it
        title="Trials of a search",
        description="Read only with strategy tpe. The lists above are the ends of a range, or choices, then.",
        ge=4,
        le=128,
        json_schema_extra={"position": 7},
    )

    @model_validator(mode="after")
    def _within_the_api(self) -> Grid:
        """All faults at once: a form that fails for one field after another is no help."""
        faults = [f"learning rate {x:g} is not above 0" for x in self.learning_rates if not x > 0]
        faults += [
            f"beta {x:g} is not above 0 and below 0.5"
            + (
                " (such betas belong to the length-normalised loss, which the platform does not have)"
                if x >= BETA_BELOW
                else ""
            )
            for x in self.betas
            if not 0 < x < BETA_BELOW
        ]
        faults += [f"lambda {x:g} is not above 0" for x in self.orpo_lambdas if not x > 0]
        faults += [
            f"LoRA rank {x} is not one of {', '.join(map(str, RANKS))}" for x in self.lora_ranks if x not in RANKS
        ]
        faults += [f"{x} epochs is not 1 or more" for x in self.epochs if x < 1]
        if self.max_context_length % 16:
            faults.append(f"context length {self.max_context_length} is not a multiple of 16")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class Sampling(BaseModel):
    """How base and candidates answer the held-out prompts: the same for all."""

    model_config = ConfigDict(title="Held-out sampling", extra="forbid")

    max_tokens: int = Field(512, title="Tokens per answer, at most", ge=1, json_schema_extra={"position": 0})
    temperature: float = Field(0.0, title="Temperature", ge=0, le=2, json_schema_extra={"position": 1})
    concurrency: int = Field(64, title="Requests in flight", ge=1, le=1024, json_schema_extra={"position": 2})


class PairGeneration(BaseModel):
    """How prompts without answers become pairs: a strong model's answer is chosen over a weak one's."""

    model_config = ConfigDict(title="Pairs from prompts", extra="forbid")

    strong: str = Field(
        "",
        title="Strong model",
        description="Its answers are chosen. Empty: picked from the platform's models of the base model's family.",
        json_schema_extra={"position": 0},
    )
    weak: str = Field(
        "",
        title="Weak model",
        description="Its answers are rejected. Empty: picked as above.",
        json_schema_extra={"position": 1},
    )
    max_prompts: int = Field(
        0,
        title="Training prompts to ask, at most",
        description="0: all. More is not always better: try fewer, too.",  # OLMo 3 peaks at 75,000 to 100,000 pairs
        ge=0,
        json_schema_extra={"position": 2},
    )
    max_tokens: int = Field(
        1024,
        title="Tokens per answer, at most",
        description="An answer that is cut off is left out.",
        ge=1,
        json_schema_extra={"position": 3},
    )
    temperature: float = Field(
        0.0,  # arXiv 2507.06187 samples greedily
        title="Temperature",
        ge=0,
        le=2,
        json_schema_extra={"position": 4},
    )
    max_length_gap: int = Field(
        100,  # OLMo 3, arXiv 2512.13961
        title="Length gap, at most (tokens)",
        description="Pairs whose answers differ by more are left out: they would teach length.",
        ge=1,
        json_schema_extra={"position": 5},
    )
    max_similarity: float = Field(
        0.9,  # a guess; the risk is likelihood displacement, arXiv 2410.08847
        title="Similarity, below",
        description="Share of words that the two answers have in common, in the same order. Pairs that are more "
        "alike are left out.",
        gt=0,
        le=1,
        json_schema_extra={"position": 6},
    )
    first_prompts: int = Field(
        20,
        title="Prompts to try first",
        description="If the strong model's answers are not clearly better on these, the run asks before it buys more.",
        ge=6,  # with fewer, even a win on all is no clear win at 95 %
        json_schema_extra={"position": 7},
    )
    judge_filter: bool = Field(
        False,
        title="Keep only what the judge confirms",
        description="The judge compares both answers to each prompt, in both orders; pairs that it reverses, ties or "
        "does not read are left out. The plan has the price. Needs a judge.",
        json_schema_extra={"position": 8},
    )
    batch: bool = Field(
        False,
        title="Batch inference",
        description="The answers come within hours or days, by the token, at half the serverless price, instead of "
        "from two deployments that are paid by the hour. Not every model can be asked so.",
        json_schema_extra={"position": 9},
    )


class Serving(BaseModel):
    """What the evaluation and the winner are deployed on. A local server uses the machine that it runs on."""

    model_config = ConfigDict(title="Serving", extra="forbid")

    accelerator_type: str = Field("NVIDIA_H100_80GB", title="Accelerator", json_schema_extra={"position": 0})
    accelerator_count: int = Field(1, title="Accelerators per replica", ge=1, json_schema_extra={"position": 1})
    ready_timeout_minutes: float = Field(
        60,  # cold starts of 10 minutes and more are known
        title="Minutes to wait until a deployment answers",
        gt=0,
        json_schema_extra={"position": 2},
    )


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
