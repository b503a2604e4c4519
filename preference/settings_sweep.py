"""What a sweep tries: the losses, the way to search, and the values whose combinations are trials."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
