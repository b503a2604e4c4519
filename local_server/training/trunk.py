"""TRL's trainers where the layers below the adapters are computed once for all jobs on a dataset.

With LoRA on the top layers alone the lower ones, the trunk, never change: what they make of each pair is kept, and a
step goes through the top layers only. Pairs are packed (packing.py). Everything else, the order of the pairs, the
optimizer, the schedule, clipping, checkpoints, is TRL's trainer; the losses are TRL's to rounding, which a test holds.

For the plain decoders named in MODEL_TYPES, on a CPU; for others training takes TRL's own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear, logsigmoid
from torch.utils.checkpoint import checkpoint

from local_server.training.job import TrainingJob
from local_server.training.lora import layers_for
from local_server.training.packing import (
    PackedPair,
    Predictions,
    attention_mask,
    pack,
    padded_positions,
    predictions,
)
from local_server.training.trainers import MICRO_PAIRS, SharedDPOTrainer, SharedORPOTrainer
from local_server.training.warm import WarmBase, WarmData

MODEL_TYPES = {"llama", "mistral", "qwen2", "qwen3"}
MAX_TRUNK_BYTES = 1 << 30  # kept in memory
_TILE = 512  # predictions whose logits are held for the backward pass; more are computed again there


def usable(job: TrainingJob, base: WarmBase, data: WarmData) -> bool:
    """Whether this job can share a trunk here."""
    config = base.model.config
    layers = layers_for(base.model, job)
    plain = config.model_type in MODEL_TYPES and not getattr(config, "use_sliding_window", False)
    size = sum(data.lengths) * 2 * config.hidden_size * base.model.dtype.itemsize
    return (
        job.engine == "auto"
        and base.model.device.type == "cpu"
        and plain
        and layers is not None
        and not job.lora_dropout
        and size <= MAX_TRUNK_BYTES
    )


class Trunk:
    """The lower layers' output for every pair of a dataset."""

    def __init__(self, model: Any, pairs: list[PackedPair], first: int):
        """first: the first layer that has an adapter. model: the transformers model, adapters in it or not."""
        self.pairs, self.first = pairs, first
        self._decoder, self._head = model.model, model.get_output_embeddings()
        self.outputs: list[torch.Tensor] = [torch.empty(0)] * len(pairs)  # (tokens, width) each
        by_length = sorted(range(len(pairs)), key=lambda i: len(pairs[i].tokens))
        with torch.no_grad(), self._layers(slice(0, first), norm=False):
            for start in range(0, len(pairs), MICRO_PAIRS):
                rows = by_length[start : start + MICRO_PAIRS]
                length = max(len(pairs[row].tokens) for row in rows)
                ids = torch.tensor([pairs[r].tokens + [0] * (length - len(pairs[r].tokens)) for r in rows])
                hidden = self._run(self._decoder.get_input_embeddings()(ids), rows)
                for row, output in zip(rows, hidden, strict=True):
                    self.outputs[row] = output[: len(pairs[row].tokens)].clone()

    def log_probs(self, rows: Sequence[int]) -> tuple[torch.Tensor, Predictions]:
        """(n,) log-probs of all the predictions of these pairs, through the top layers as they are now."""
        hidden = torch.nn.utils.rnn.pad_sequence([self.outputs[row] for row in rows], batch_first=True)
        with self._layers(slice(self.first, None), norm=True):
            hidden = self._run(hidden, rows)
        wanted = predictions([self.pairs[row] for row in rows])
        return self._score(hidden[wanted.rows, wanted.positions], wanted.tokens), wanted

    def _run(self, hidden: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        pairs, length = [self.pairs[row] for row in rows], hidden.shape[1]
        output = self._decoder(
            inputs_embeds=hidden,
            attention_mask=attention_mask(pairs, length),
            position_ids=padded_positions(pairs, length),
            use_cache=False,
        )
        result: torch.Tensor = output.last_hidden_state
        return result

    def _score(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """hidden: (n, width). Tiles beyond the first forget their logits, so that memory stays bounded."""
        if len(hidden) <= _TILE:
            return self._tile(hidden, targets)
        return torch.cat(
            [
                checkpoint(self._tile, h, t, use_reentrant=False)
                for h, t in zip(torch.split(hidden, _TILE), torch.split(targets, _TILE), strict=True)
            ]
        )

    def _tile(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = linear(hidden, self._head.weight).float()
        return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(-1)

    @contextmanager
    def _layers(self, which: slice, *, norm: bool) -> Iterator[None]:
        """The decoder with some of its layers alone."""
        layers, final = self._decoder.layers, self._decoder.norm
        self._decoder.layers = layers[which]
        self._decoder.norm = final if norm else torch.nn.Identity()
        try:
            yield
        finally:
            self._decoder.layers, self._decoder.norm = layers, final


class TrunkDPOTrainer(SharedDPOTrainer):
    """DPO from the trunk's output; pairs reach the loss by their number in the dataset."""

    train_dataset: Any

    def __init__(self, job: TrainingJob, base: WarmBase, data: WarmData, **kwargs: Any):
        self._first = first_adapted(job, base)
        super().__init__(job, base, data, data_collator=collate_rows, **kwargs)
        self.train_dataset = self.train_dataset.add_column("row", list(range(len(self.train_dataset))))
        self._signature_columns = ["row", "ref_chosen_logps", "ref_rejected_logps"]

    @property
    def _trunk(self) -> Trunk:
        trunk: Trunk = self._data.trunk(("DPO", self._first), self._make_trunk)
        return trunk

    def _make_trunk(self) -> Trunk:
        pairs = [
            pack(row["prompt_ids"] + row["chosen_ids"], row["prompt_ids"] + row["rejected_ids"], len(row["prompt_ids"]))
            for row in self._data.tokenised
        ]
        return Trunk(self.accelerator.unwrap_model(self.model).get_base_model(), pairs, self._first)

    def _reference_log_probs(self, data: WarmData) -> tuple[list[float], list[float]]:
        chosen, rejected = [], []
        with torch.no_grad(), self.accelerator.unwrap_model(self.model).disable_adapter():
            for start in range(0, len(data.lengths), MICRO_PAIRS):
                rows = list(range(start, min(start + MICRO_PAIRS, len(data.lengths))))
                of_chosen, of_rejected = self._sums(rows)
                chosen += of_chosen.tolist()
                rejected += of_rejected.tolist()
        return chosen, rejected

    def _sums(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        log_probs, wanted = self._trunk.log_probs(rows)
        return wanted.sums(log_probs, len(rows))

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> torch.Tensor:
        rows = inputs["row"].tolist()
        chosen, rejected = self._sums(rows)
        chosen_reward = self.beta * (chosen - inputs["ref_chosen_logps"])
        rejected_reward = self.beta * (rejected - inputs["ref_rejected_logps"])
        margin = chosen_reward - rejected_reward
        for name, value in {
            "rewards/chosen": chosen_reward,
            "rewards/rejected": rejected_reward,
            "rewards/accuracies": (margin > 0).float(),
            "rewards/margins": margin,
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }.items():
            self._metrics["train"][name].append(value.detach().mean().item())
        self._total_train_tokens += sum(self._trunk.pairs[row].n_tokens for row in rows)
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return -logsigmoid(margin).mean()


class TrunkORPOTrainer(SharedORPOTrainer):
    """ORPO from the trunk's output; as in TRL its first term is over the prompt, too."""

    train_dataset: Any

    def __init__(self, job: TrainingJob, base: WarmBase, data: WarmData, **kwargs: Any):
        super().__init__(job, base, data, data_collator=collate_rows, **kwargs)
        tokenised = self.train_dataset
        first = first_adapted(job, base)
        self._trunk = data.trunk(("ORPO", first), lambda: self._make_trunk(tokenised, first))
        self.train_dataset = tokenised.add_column("row", list(range(len(tokenised)))).select_columns(["row"])

    def _make_trunk(self, tokenised: Any, first: int) -> Trunk:
        pairs = [
            pack(row["chosen_input_ids"], row["rejected_input_ids"], row["chosen_labels"].count(-100), with_prompt=True)
            for row in tokenised
        ]
        return Trunk(self.accelerator.unwrap_model(self.model).get_base_model(), pairs, first)

    def get_batch_loss_metrics(
        self, model: Any, batch: dict[str, Any], train_eval: str = "train"
    ) -> tuple[torch.Tensor, dict[str, float]]:
        rows = batch["row"].tolist()
        log_probs, wanted = self._trunk.log_probs(rows)
        n_chosen, n_rejected = wanted.sums(torch.ones_like(log_probs), len(rows))
        chosen, rejected = wanted.sums(log_probs, len(rows))
        chosen, rejected = chosen / n_chosen, rejected / n_rejected
        nll = -log_probs[wanted.in_text].mean()
        losses, chosen_reward, rejected_reward, ratio, log_odds = self.odds_ratio_loss(chosen, rejected)
        metrics = {
            "rewards/chosen": chosen_reward,
            "rewards/rejected": rejected_reward,
            "rewards/accuracies": (chosen_reward > rejected_reward).float(),
            "rewards/margins": chosen_reward - rejected_reward,
            "logps/chosen": chosen,
            "logps/rejected": rejected,
            "nll_loss": nll,
            "log_odds_ratio": ratio,
            "log_odds_chosen": log_odds,
        }
        return nll - losses.mean(), {name: value.detach().mean().item() for name, value in metrics.items()}


def first_adapted(job: TrainingJob, base: WarmBase) -> int:
    """The lowest layer with an adapter."""
    return min(layers_for(base.model, job) or [0])


def collate_rows(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([example[name] for example in examples]) for name in examples[0]}
