"""Models: get, list, the names people use for them, and which can be tuned on preferences."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from blocks import transfer
from blocks.client_base import ClientBase
from blocks.client_datasets import signed_urls
from blocks.errors import Ambiguous, NotFound, NotTunable
from preference.wire import Model, is_resource_id, resource_id

FIREWORKS = "fireworks"  # the account of the platform's own models


class Models(ClientBase):
    def get_model(self, name: str) -> Model:
        """GET models/{name}: a full name, or an ID of the own account."""
        return Model.parse(self._connection.send("GET", self._path("models", name)))

    def list_models(self, account: str | None = None, **query: Any) -> list[Model]:
        """GET models of an account, all pages; the platform's own are under `fireworks`."""
        return [Model.parse(m) for m in self._pages(self._collection("models", account), "models", **query)]

    def delete_model(self, name: str) -> None:
        """DELETE models/{name}, if a session of ours trained it. The platform refuses one that is served."""
        self._delete("models", name)

    def get_model_download_endpoint(self, name: str) -> dict[str, str]:
        """GET models/{name}:getDownloadEndpoint: {file: signed address}."""
        return signed_urls(self._connection.send("GET", self._path("models", name, "getDownloadEndpoint")))

    def download_model_files(self, name: str, folder: Path, wanted: Collection[str]) -> list[Path]:
        """Those of the model's files that are wanted and there, in the folder; Refused where they are kept back."""
        urls = {
            path: url
            for path, url in self.get_model_download_endpoint(name).items()
            if transfer.file_name(path) in wanted
        }
        return transfer.download_all(self._connection, urls, folder) if urls else []

    def resolve_model(self, text: str) -> Model:
        """The model that a full name, an ID or a display name ("Qwen3 32B") means.

        Looked for in the own account and in Fireworks'. NotFound names the nearest, Ambiguous all that fit.
        """
        text = text.strip()
        if "/" in text:
            return self.get_model(text)
        models = self.known_models()
        fitting = [m for m in models if resource_id(m.name) == text] or match_models(text, models)
        if len(fitting) > 1:
            raise Ambiguous(f"{text!r} fits {_listed(fitting)}. Give the full name of the one you mean.")
        if fitting:
            return fitting[0]
        if is_resource_id(text) and (found := self._unlisted(text)):
            return found
        near = nearest(text, models)
        raise NotFound(f"no model is called {text!r}. The nearest: {_listed(near) or 'none'}.", status=404)

    def known_models(self) -> list[Model]:
        """The own account's models, then Fireworks'."""
        ours = [] if self.account == FIREWORKS else self.list_models()
        return ours + self.list_models(FIREWORKS)

    def _unlisted(self, model_id: str) -> Model | None:
        """Lists can lag behind what exists: a look at the ID itself."""
        for account in dict.fromkeys((self.account, FIREWORKS)):
            try:
                return self.get_model(f"accounts/{account}/models/{model_id}")
            except NotFound:
                continue
        return None

    def require_tunable(self, model: Model, known: Collection[str] = ()) -> None:
        """NotTunable, naming the nearest that can be tuned, unless `model` can. `known`: see `is_tunable`."""
        if is_tunable(model, known):
            return
        others = [m for m in self.list_models(FIREWORKS) if is_tunable(m, known)]
        near = nearest(resource_id(model.name), others)
        raise NotTunable(
            f"{model.name} cannot be tuned by DPO or ORPO here (supervisedLoraTunable is "
            f"{model.supervised_lora_tunable}, useTrainingV2 is {model.use_training_v2}). "
            f"The nearest that can: {_listed(near) or 'none'}."
        )


def is_tunable(model: Model, known: Collection[str] = ()) -> bool:
    """Whether a preference job takes the model as its base; the deprecated `tunable` says nothing about it.

    `known` are IDs from a dated list, believed only where the platform leaves the flag out.
    """
    if model.supervised_lora_tunable is None:
        return resource_id(model.name) in known and model.use_training_v2 is not False
    return model.supervised_lora_tunable and bool(model.use_training_v2)


def match_models(text: str, models: Iterable[Model]) -> list[Model]:
    """The models whose ID or display name is `text`, spelling aside."""
    key = spelling(text)
    return [m for m in models if key in (spelling(resource_id(m.name)), spelling(m.display_name or ""))]


def nearest(text: str, models: Iterable[Model], n: int = 3) -> list[Model]:
    """The n models with the most similar IDs, the most similar first."""
    by_key = {spelling(resource_id(m.name)): m for m in models}
    return [by_key[key] for key in difflib.get_close_matches(spelling(text), by_key, n=n, cutoff=0.3)]


def spelling(name: str) -> str:
    """What "Qwen3.5 9B", "qwen3p5-9b" and "Qwen 3.5-9B" have in common: IDs write p for a decimal point."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"(?<=\d)\.(?=\d)", "p", name.casefold()))


def _listed(models: Iterable[Model]) -> str:
    return ", ".join(m.name for m in models)
