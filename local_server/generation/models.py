"""Base models in memory, and the adapters on them: loaded when first asked for, the longest unused put out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from local_server.generation import attention
from local_server.generation.constrained import SchemaCompiler
from local_server.generation.request import GenerationFault
from local_server.training.warm import fast_dtype

MAX_ADAPTERS = 16  # on one base; each is a few MB
_log = logging.getLogger(__name__)


@dataclass
class LoadedBase:
    """A base model with its tokenizer; adapters hang on it by name."""

    model: Any  # the transformers model; PEFT puts its layers into it
    tokenizer: Any
    eos: frozenset[int]
    context_length: int  # tokens
    kv_bytes_per_token: int
    schemas: SchemaCompiler
    peft: Any = None  # the PeftModel around `model`, once there is an adapter
    adapters: OrderedDict[tuple[str, int], str] = field(default_factory=OrderedDict)  # by (folder, mtime)
    _names: int = 0

    @contextmanager
    def using(self, adapter: Path | None) -> Iterator[Any]:
        """The model with this adapter on, or with none."""
        name = self._load(adapter) if adapter else None
        if name is not None:
            self.peft.set_adapter(name, inference_mode=True)
        with self.peft.disable_adapter() if self.peft and name is None else nullcontext():
            yield self.model

    def _load(self, folder: Path) -> str:
        key = _adapter_key(folder)
        if key in self.adapters:
            self.adapters.move_to_end(key)
            return self.adapters[key]
        self._names += 1
        name = f"adapter{self._names}"
        try:
            if self.peft is None:
                self.peft = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
                self.peft.eval()
            else:
                self.peft.load_adapter(folder, adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise GenerationFault("FAILED_PRECONDITION", f"the adapter could not be loaded: {error}") from error
        self.adapters[key] = name
        if len(self.adapters) > MAX_ADAPTERS:
            _, oldest = self.adapters.popitem(last=False)
            self.peft.delete_adapter(oldest)
        _log.info("loaded adapter %s", folder)
        return name


def _adapter_key(folder: Path) -> tuple[str, int]:
    """A folder that was trained anew is another adapter."""
    try:
        return str(folder), (folder / "adapter_config.json").stat().st_mtime_ns
    except OSError as error:
        raise GenerationFault("FAILED_PRECONDITION", "the adapter's files are gone; tune the model again") from error


class Models:
    """One base at a time on a small machine; the next one takes its place."""

    def __init__(self, max_bases: int = 1):
        self._max = max_bases
        self._bases: OrderedDict[Path, LoadedBase] = OrderedDict()

    def base(self, folder: Path) -> LoadedBase:
        if folder not in self._bases:
            while len(self._bases) >= self._max:
                self._bases.popitem(last=False)
            self._bases[folder] = load_base(folder)
        self._bases.move_to_end(folder)
        return self._bases[folder]


def load_base(folder: Path) -> LoadedBase:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=fast_dtype(device), local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise GenerationFault("INTERNAL", f"the base model {folder.name} could not be loaded: {error}") from error
    model.to(device).eval().requires_grad_(False)
    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        attention.register()
        model.set_attn_implementation(attention.NAME)
    config = model.config.get_text_config()
    _log.info("loaded %s as %s on %s", folder.name, model.dtype, device)
    return LoadedBase(
        model,
        tokenizer,
        eos=_eos(model, tokenizer),
        context_length=int(getattr(config, "max_position_embeddings", 2048)),
        kv_bytes_per_token=_kv_bytes(config, model.dtype),
        schemas=SchemaCompiler(tokenizer, int(config.vocab_size)),
    )


def _eos(model: Any, tokenizer: Any) -> frozenset[int]:
    stated = model.generation_config.eos_token_id
    tokens = stated if isinstance(stated, list) else [stated]
    return frozenset(token for token in [*tokens, tokenizer.eos_token_id] if token is not None)


def _kv_bytes(config: Any, dtype: torch.dtype) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)
