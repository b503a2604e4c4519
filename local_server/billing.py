"""What was used, and what it costs by the user's price book. Without one everything costs 0: it is your own machine."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from local_server.store import Record, Store, UsageEvent


class PriceFault(ValueError):
    """A price book that cannot be read."""


@dataclass(frozen=True)
class Prices:
    """USD. A TOML file with these keys; those left out are 0."""

    dpo_training_per_million: float = 0.0  # tokens: epochs × pairs × (2·prompt + chosen + rejected)
    orpo_training_per_million: float = 0.0  # tokens, counted in the same way
    input_per_million: float = 0.0  # tokens
    output_per_million: float = 0.0  # tokens
    batch_share: float = 0.5  # of the two above, for batch inference jobs
    replica_hour: float = 0.0

    @classmethod
    def read(cls, path: Path | None) -> Prices:
        """Raises PriceFault."""
        if path is None:
            return cls()
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PriceFault(f"the price book {path} cannot be read: {error}") from None
        if unknown := table.keys() - {field.name for field in fields(cls)}:
            raise PriceFault(f"the price book {path} has unknown keys: {', '.join(sorted(unknown))}")
        if bad := [key for key, value in table.items() if not isinstance(value, int | float) or value < 0]:
            raise PriceFault(f"the price book {path}: {', '.join(bad)} must be numbers of at least 0")
        return cls(**table)


class Ledger:
    def __init__(self, store: Store, prices: Prices, clock: Callable[[], float]) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock

    def training(self, job: Record, share: float) -> None:
        """Charge this share of a job, 0 to 1; what was never begun has no count of tokens and costs nothing."""
        config = job.body["trainingConfig"]
        tokens = job.private.get("billable_tokens_an_epoch", 0) * (config.get("epochs") or 1) * share
        if tokens <= 0:
            return
        orpo = (job.body.get("lossConfig") or {}).get("method") == "ORPO"
        price = self._prices.orpo_training_per_million if orpo else self._prices.dpo_training_per_million
        self._add("TRAINING", job.name, job.private["base_model"], {"trainingTokens": tokens}, tokens * price / 1e6)

    def inference(self, kind: str, resource: str, model: str, usage: dict[str, Any]) -> None:
        """kind: INFERENCE or BATCH_INFERENCE. On a deployment of one's own the tokens cost nothing beside the hours."""
        prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        cost = 0.0
        if kind == "BATCH_INFERENCE":
            prices = self._prices
            cost = (prompt * prices.input_per_million + completion * prices.output_per_million) / 1e6
            cost *= prices.batch_share
        self._add(kind, resource, model, {"promptTokens": prompt, "completionTokens": completion}, cost)

    def replica(self, deployment: str, model: str, seconds: float, accelerators: int = 1) -> None:
        total = seconds * accelerators
        cost = total * self._prices.replica_hour / 3600
        self._add("DEPLOYMENT", deployment, model, {"acceleratorSeconds": total}, cost)

    def _add(self, kind: str, resource: str, model: str, quantities: dict[str, float], cost: float) -> None:
        self._store.add_usage(UsageEvent(self._clock(), kind, resource, model, quantities, cost))
