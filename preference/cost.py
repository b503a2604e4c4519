"""What a plan will cost and how long it will take, from a price book: low, expected and high."""

from __future__ import annotations

import math
import tomllib
from datetime import date
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, Field

from preference.memory import MemoryUse

TRAINING_SPREAD = (0.7, 1.3)  # planning range of billed training tokens: Fireworks cookbook, cost skill
TIME_SPREAD = (0.5, 2.0)  # hours depend on load and on how long the answers get: a guess, said as such

SCALE_DOWN_S = 300.0  # the shortest scaleToZeroWindow: so long is an idle replica billed


class PriceTier(BaseModel):
    up_to_parameters: float = math.inf
    usd: float


class InferencePrice(BaseModel):
    """Serverless inference of one model, or of all up to a size that are not named, in USD per million tokens."""

    model: str = ""  # its ID; "": by size
    up_to_parameters: float = math.inf
    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Throughput(BaseModel):
    job_overhead_s: float
    training_tokens_per_s: float = Field(gt=0)
    deployment_start_s: float
    generation_tokens_per_s: float = Field(gt=0)
    evaluator_rows_per_s: float = Field(gt=0)
    batch_wait_s: float = 0.0  # until a batch inference job has been worked off, beside the time of its tokens
    jobs_at_once: int = Field(ge=1)  # how many jobs the platform really runs side by side
    measured_parameters: float | None = Field(None, gt=0)  # of the model that was measured; None: any is as fast
    measured_gflops: float | None = Field(None, gt=0)  # of the machine that was; None: the platform's, not the user's

    def seconds_for_size(self, n_parameters: float | None) -> float:
        """How many times as long one token takes on a model of this size: it goes with the parameters.

        Never under a tenth: on small models it is the overhead of a step that counts.
        """
        if n_parameters is None or self.measured_parameters is None:
            return 1.0
        return max(0.1, n_parameters / self.measured_parameters)


class Float32(BaseModel):
    """What was measured of the same model in float32, where a processor does not multiply bfloat16."""

    training_tokens_per_s: float = Field(gt=0)
    generation_tokens_per_s: float = Field(gt=0)
    measured_gflops: float = Field(gt=0)
    gb_per_billion_parameters: float = Field(gt=0)
    training_gb_per_thousand_tokens: float = Field(gt=0)
    answering_gb: float = Field(ge=0)


class ModelSweep(BaseModel):
    """The base models that are tried where a request names none: a choice with its date and source, in order."""

    as_of: date | None = None
    source: str = ""
    models: list[str] = []  # IDs; empty: all that the platform lists as tunable


class PriceBook(BaseModel):
    """Prices with their date and source. What is not in it is unknown: None, never 0."""

    name: str
    as_of: date
    sources: list[str]
    assumptions: list[str] = []
    dpo_usd_per_million_tokens: list[PriceTier] = []
    accelerator_usd_per_hour: dict[str, float] = {}  # "*" is any
    inference_usd_per_million_tokens: list[InferencePrice] = []  # serverless; those by name before those by size
    batch_share: float | None = Field(None, gt=0, le=1)  # of the serverless price: what batch inference costs
    throughput: Throughput
    memory: MemoryUse | None = None  # of the user's own machine; None: the platform's
    float32: Float32 | None = None
    model_sweep: ModelSweep = ModelSweep()

    def training_usd(self, tokens: float, parameters: int | None) -> float | None:
        """USD for billed training tokens of a LoRA on a base of this size; None where either is unknown."""
        tiers = self.dpo_usd_per_million_tokens
        if parameters is None:
            tier = tiers[0] if len(tiers) == 1 and tiers[0].up_to_parameters == math.inf else None
        else:
            tier = next((t for t in tiers if parameters <= t.up_to_parameters), None)
        return None if tier is None else tokens / 1e6 * tier.usd

    def batch_usd(
        self, prompt_tokens: float, completion_tokens: float, model: str, parameters: int | None
    ) -> float | None:
        """USD for tokens of a model by batch inference; None where it has no price.

        model: its ID. parameters: None where they are not known, or where it is tuned, since there is no serverless
        inference of tuned models: a price for all sizes holds all the same.
        """

        def fits(price: InferencePrice) -> bool:
            if price.model:
                return price.model == model
            return price.up_to_parameters == math.inf if parameters is None else parameters <= price.up_to_parameters

        prices = self.inference_usd_per_million_tokens
        if parameters is None and len([price for price in prices if not price.model]) != 1:
            prices = [price for price in prices if price.model]
        price = next((price for price in prices if fits(price)), None)
        if price is None or self.batch_share is None:
            return None
        return self.batch_share * (prompt_tokens * price.prompt + completion_tokens * price.completion) / 1e6

    def in_float32(self) -> PriceBook:
        """The book for a machine whose processor does not multiply bfloat16."""
        if self.float32 is None:
            return self
        speed = self.float32.model_dump(include=set(Throughput.model_fields))
        sizes = self.float32.model_dump(include=set(MemoryUse.model_fields))
        return self.model_copy(
            update={
                "throughput": self.throughput.model_copy(update=speed),
                "memory": self.memory and self.memory.model_copy(update=sizes),
                "assumptions": [
                    *self.assumptions,
                    "This processor does not multiply bfloat16: times and memory are those of float32.",
                ],
            }
        )

    def on_machine(self, gflops: float) -> PriceBook:
        """The book for a machine that multiplies float32 matrices so fast, in place of the one that was measured."""
        if self.throughput.measured_gflops is None:
            return self
        ratio = gflops / self.throughput.measured_gflops
        speed = self.throughput
        scaled = {
            "training_tokens_per_s": speed.training_tokens_per_s * ratio,
            "generation_tokens_per_s": speed.generation_tokens_per_s * ratio,
            "measured_gflops": gflops,
        }
        told = (
            f"Measured just now, this machine is {ratio:.2f} × as fast (float32 matrices, {gflops:.0f} GFLOP/s) as the "
            "one that these times come from; training and sampling are taken to go with it."
        )
        return self.model_copy(
            update={"throughput": speed.model_copy(update=scaled), "assumptions": [*self.assumptions, told]}
        )

    def with_memory(self, machine_gb: float) -> PriceBook:
        """The book for a machine with this much memory."""
        if self.memory is None:
            return self
        known = {"machine_gb": machine_gb, "jobs_at_once": self.throughput.jobs_at_once}
        return self.model_copy(update={"memory": self.memory.model_copy(update=known)})

    def accelerator_text(self, accelerator: str, count: int) -> str:
        """What is paid for by the hour; a book that prices any accelerator alike means its own hardware."""
        return "its own hardware" if "*" in self.accelerator_usd_per_hour else f"{count} × {accelerator}"

    def accelerator_usd(self, hours: float, accelerator: str, count: int) -> float | None:
        """USD for one replica's hours; None where the accelerator has no price."""
        per_hour = self.accelerator_usd_per_hour.get(accelerator, self.accelerator_usd_per_hour.get("*"))
        return None if per_hour is None else hours * count * per_hour


def load_price_book(name: str) -> PriceBook:
    """The packaged book of that name, or the TOML file at that path."""
    if name.endswith(".toml"):
        return PriceBook.model_validate(tomllib.loads(Path(name).read_text("utf-8")))
    book = resources.files("preference").joinpath("prices", f"{name}.toml")
    if not book.is_file():
        raise ValueError(f"there is no price book {name!r}: give 'fireworks', 'local' or the path of a .toml file")
    return PriceBook.model_validate(tomllib.loads(book.read_text("utf-8")))


class CostLine(BaseModel):
    """One line of the bill. A price of None is unknown; seconds are expected wall time."""

    what: str
    quantity: str
    usd_low: float | None
    usd: float | None
    usd_high: float | None
    seconds: float

    @classmethod
    def spread(
        cls, what: str, quantity: str, usd: float | None, seconds: float, spread: tuple[float, float]
    ) -> CostLine:
        low, high = (None, None) if usd is None else (usd * spread[0], usd * spread[1])
        return cls(what=what, quantity=quantity, usd_low=low, usd=usd, usd_high=high, seconds=seconds)


def training_tokens(prompt: int, chosen: int, rejected: int, epochs: int) -> int:
    """Tokens billed for DPO: epochs x (2 x prompt + chosen + rejected), the reference pass included."""
    return epochs * (2 * prompt + chosen + rejected)


def total(lines: list[CostLine]) -> CostLine:
    """The sum; unknown as soon as one line is."""

    def add(values: list[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return sum(known) if len(known) == len(values) else None

    return CostLine(
        what="Total",
        quantity="",
        usd_low=add([line.usd_low for line in lines]),
        usd=add([line.usd for line in lines]),
        usd_high=add([line.usd_high for line in lines]),
        seconds=sum(line.seconds for line in lines),
    )


def usd_text(value: float | None) -> str:
    """Dollars to the cent, and never 0.00 for what is more than nothing."""
    if value is None:
        return "unknown"
    if 0 < value < 0.01:
        return "< 0.01"
    return f"{value:,.2f}"


def duration_text(seconds: float) -> str:
    """45 s, 12 min or 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
