"""What the report is made of, as tasks gather it from the session's folder."""

from __future__ import annotations

from pydantic import BaseModel

from preference.cost import CostLine
from preference.pairs import PairsMade
from preference.plan import Plan
from preference.qualification import Qualification
from preference.search import Draws
from preference.session import SessionRecord
from preference.standings import Comparison
from preference.targets import Stopped
from preference.trials import Trial


class TrialFacts(BaseModel):
    """How a trial went, as the report tells it."""

    trial: Trial
    job_state: str
    message: str = ""
    first_loss: float | None = None
    last_loss: float | None = None
    last_accuracy: float | None = None  # share of pairs whose chosen answer the tuned model prefers
    n_steps: int = 0
    seconds: float | None = None
    seed: int | None = None
    health: list[str] = []  # what its metrics should make one doubt


class EndpointFacts(BaseModel):
    model: str
    deployment: str
    address: str
    base_url: str
    question: str
    answer: str


class Usage(BaseModel):
    """What the session bought, from the journal."""

    model: str
    n_answers: int
    prompt_tokens: int
    completion_tokens: int


class EvaluatorFacts(BaseModel):
    """The code that scored, and how it did when it was tried before the training."""

    file: str
    code: str
    n_tried: int = 0  # answers of training pairs, each scored twice
    faults: list[str] = []


class ReportFacts(BaseModel):
    """All that the report is made of; what is None did not come to pass."""

    record: SessionRecord
    plan: Plan | None = None
    approvals: list[dict[str, object]] = []
    trials: list[TrialFacts] = []
    comparison: Comparison | None = None
    endpoint: EndpointFacts | None = None
    usage: list[Usage] = []
    n_possibly_billed_twice: int = 0
    actual: list[CostLine] = []
    versions: dict[str, str] = {}
    examples: list[dict[str, str]] = []
    pairs: PairsMade | None = None  # where the dataset had prompts alone
    draws: Draws | None = None  # what a search drew
    stopped: Stopped | None = None  # before all was trained
    judge: Qualification | None = None
    evaluator: EvaluatorFacts | None = None
    datasets: dict[str, str] = {}  # by role: name, rows and hash
    pictures: list[str] = []  # those that are in figures/, by name
