"""How models are asked and served: for the held-out prompts, for pairs, and at the end."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
