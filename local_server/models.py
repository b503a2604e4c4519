"""Models: the catalogue's base models and the adapters trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from local_server import catalogue, errors
from local_server.catalogue import TOKENIZER_FILES, BaseModelEntry
from local_server.config import ACCOUNT, CATALOGUE_ACCOUNT
from local_server.store import Record, Store
from preference.wire import full_name, resource_id

BASE_MODELS = f"accounts/{CATALOGUE_ACCOUNT}/models"
TUNED_MODELS = f"accounts/{ACCOUNT}/models"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Models:
    def __init__(self, home: Path, store: Store) -> None:
        self._home = home
        self._store = store

    def entries(self) -> dict[str, BaseModelEntry]:
        """The catalogue by full name; read anew, so that a line added to the user's file counts at once."""
        try:
            return {f"{BASE_MODELS}/{entry.id}": entry for entry in catalogue.load(self._home)}
        except catalogue.CatalogueError as error:
            raise errors.ApiError("FAILED_PRECONDITION", str(error)) from None

    def base(self, name: str) -> BaseModelEntry | None:
        return self.entries().get(full_name(CATALOGUE_ACCOUNT, "models", name))

    def tuned(self, name: str) -> Record | None:
        full = full_name(ACCOUNT, "models", name)
        return self._store.find(full) if full.startswith(f"{TUNED_MODELS}/") else None

    def get(self, name: str) -> dict[str, Any]:
        """The resource as the wire shows it. Raises NOT_FOUND."""
        if entry := self.entries().get(name):
            return base_model_json(entry)
        return self._store.get(name).body

    def of(self, account: str) -> list[dict[str, Any]]:
        if account == CATALOGUE_ACCOUNT:
            return [base_model_json(entry) for entry in self.entries().values()]
        return [record.body for record in self._store.all(f"accounts/{account}/models")]

    def base_name(self, name: str) -> str:
        """The base model under a model: itself, or the one that an adapter was trained on. Raises NOT_FOUND."""
        if name in self.entries():
            return name
        return str(self._store.get(name).body["peftDetails"]["baseModel"])

    def adapter_folder(self, name: str) -> Path | None:
        """Where a tuned model's adapter lies; None for a base model."""
        return self._home / "models" / resource_id(name) if name.startswith(f"{TUNED_MODELS}/") else None

    def register(self, name: str, base_model: str, job: Record, rank: int) -> None:
        """A job's output becomes a model. Registering the same job's output again changes nothing."""
        body: dict[str, Any] = {
            "displayName": job.body.get("displayName") or resource_id(name),
            "kind": "HF_PEFT_ADDON",
            "state": "READY",
            "fineTuningJob": job.name,
            "peftDetails": {
                "baseModel": base_model,
                "r": rank,
                "targetModules": job.private.get("target_modules", []),
            },
            "supportsLora": False,
            "supportsServerless": False,
            "tunable": False,
        }
        if entry := self.entries().get(base_model):
            body["contextLength"] = entry.context_length
        if found := self._store.find(name):
            if found.body.get("fineTuningJob") == job.name:
                return
            raise errors.already_exists(name)
        self._store.create(name, body)


def base_model_json(entry: BaseModelEntry) -> dict[str, Any]:
    return {
        "name": f"{BASE_MODELS}/{entry.id}",
        "displayName": entry.display_name,
        "kind": "HF_BASE_MODEL",
        "state": "READY",
        "baseModelDetails": {
            "parameterCount": str(entry.parameter_count),
            "moe": False,
            "modelType": entry.model_type,
            "defaultPrecision": "BF16",
            "checkpointFormat": "HUGGINGFACE",
        },
        "contextLength": entry.context_length,
        "trainingContextLength": entry.context_length,
        "supportsLora": True,
        "supportsServerless": False,  # a base model, too, is sampled through a deployment
        "supervisedLoraTunable": True,
        "useTrainingV2": True,
    }


def tokenizer_paths(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
