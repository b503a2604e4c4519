"""What jobs on the same base and dataset share: the model, the tokenised pairs, the reference."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_server.training.job import TrainingFault, TrainingJob
from local_server.training.pairs import read_pairs, refuse_long_pairs

_log = logging.getLogger(__name__)


@dataclass
class WarmData:
    """One dataset under one tokenizer."""

    pairs: Any  # datasets.Dataset: prompt, chosen, rejected
    lengths: list[int]  # tokens of each pair's longer side
    tokenised: Any = None  # datasets.Dataset as DPOTrainer prepares it
    references: tuple[list[float], list[float]] | None = None  # of chosen, of rejected, in nats
    _trunk: tuple[Any, Any] | None = None

    def trunk(self, key: object, make: Callable[[], Any]) -> Any:
        """The trunk (trunk.py) for this key, made now unless it is the last one that was asked for."""
        if self._trunk is None or self._trunk[0] != key:
            self._trunk = None  # free it before the next is made
            self._trunk = key, make()
        return self._trunk[1]


@dataclass
class WarmBase:
    """One base model in memory, without any adapter between jobs."""

    folder: Path
    model: Any
    tokenizer: Any
    parameter_count: int
    data: dict[tuple[str, int, int], WarmData] = field(default_factory=dict)

    def dataset(self, job: TrainingJob) -> WarmData:
        """The job's dataset, read and measured once; TrainingFault where it is bad or too long."""
        if not job.dataset.is_file():
            raise TrainingFault(f"the dataset's file {job.dataset.name} is not there. Upload the dataset again.")
        stat = job.dataset.stat()
        key = (str(job.dataset), stat.st_size, stat.st_mtime_ns)
        if key not in self.data:
            self.data = {key: self._read(job.dataset)}  # one at a time: the next dataset replaces this one
        limit = min(job.max_context_length or self.context_length, self.context_length)
        refuse_long_pairs(self.data[key].lengths, limit)
        return self.data[key]

    @property
    def context_length(self) -> int:
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 2048))

    def _read(self, path: Path) -> WarmData:
        from datasets import Dataset

        pairs = read_pairs(path)
        lengths = [max(self._tokens(pair, side) for side in ("chosen", "rejected")) for pair in pairs]
        return WarmData(Dataset.from_list(pairs), lengths)

    def _tokens(self, pair: dict[str, Any], side: str) -> int:
        return len(self.tokenizer.apply_chat_template(pair["prompt"] + pair[side], return_dict=False))

    @contextmanager
    def untouched_afterwards(self) -> Iterator[Any]:
        """The model for one job; afterwards the adapter and the forward that TRL put in are out again."""
        forward = vars(self.model).get("forward")
        try:
            yield self.model
        finally:
            _remove_adapters(self.model)
            vars(self.model).pop("forward", None)
            if forward is not None:
                self.model.forward = forward
            gc.collect()


def load_base(folder: Path, dtype_name: str | None) -> WarmBase:
    """Read the model onto the device it will train on."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, dtype_name) if dtype_name else fast_dtype(device)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainingFault(f"the base model in {folder.name} cannot be loaded: {error}") from error
    if tokenizer.chat_template is None:
        raise TrainingFault(f"{folder.name} has no chat template. Use an instruct model, or add chat_template.jinja.")
    model.to(device).requires_grad_(False)
    model.config.use_cache = False
    _log.info("loaded %s as %s on %s", folder.name, dtype, device)
    return WarmBase(folder, model, tokenizer, sum(p.numel() for p in model.parameters()))


def fast_dtype(device: str) -> Any:
    """bfloat16 where the hardware multiplies it: there 3 to 4 times fp32, elsewhere a tenth of it."""
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32


def _remove_adapters(model: Any) -> None:
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    vars(model).pop("peft_config", None)
    vars(model).pop("_hf_peft_config_loaded", None)
