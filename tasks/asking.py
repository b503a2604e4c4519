"""What the platform knows of the names that a request gives, looked up before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.client import FireworksClient
from blocks.client_models import is_tunable
from blocks.errors import Ambiguous, NotFound, NotTunable
from blocks.fireworks import FireworksPlatform
from preference.instruction_models import KnownModel
from preference.instruction_reading import Question
from preference.settings import PreferenceRequest

_OWN_FILE = re.compile(r"(?P<file>.+\.py)::\w+")


@task(task_run_name="list-known-models", cache_policy=NO_CACHE)  # models come and go
def list_known_models(platform: FireworksPlatform) -> list[KnownModel]:
    """The models that a text may name: the account's own and the platform's."""
    with platform.get_client() as client:
        return [
            KnownModel(
                name=model.name,
                display_name=model.display_name or "",
                tunable=None if model.supervised_lora_tunable is None else is_tunable(model),
            )
            for model in client.known_models()
        ]


@task(task_run_name="look-up-names", cache_policy=NO_CACHE)
def look_up_names(platform: FireworksPlatform, request: PreferenceRequest) -> list[Question]:
    """A question for each field whose names are not there, or cannot be tuned, with the nearest that would do."""
    with platform.get_client() as client:
        found = [
            _evaluator(client, request.evaluator),
            _base_models(client, request.base_models),
            _pair_model(client, "strong", request.pairs.strong),
            _pair_model(client, "weak", request.pairs.weak),
        ]
    return [question for question in found if question]


def _evaluator(client: FireworksClient, name: str) -> Question | None:
    if not name:
        return None  # asked for already
    if ours := _OWN_FILE.fullmatch(name):
        if Path(ours["file"]).is_file():
            return None
        why = f"there is no file {ours['file']} (looked in {Path.cwd()})"
    else:
        try:
            client.get_evaluator(name)
        except NotFound as error:
            why = str(error)
        else:
            return None
    text = f"The evaluator was not found: {why}. Which one? Its ID on the platform, or path/to/file.py::function."
    return Question(field="evaluator", words=name, text=text)


def _base_models(client: FireworksClient, names: Sequence[str]) -> Question | None:
    """All faults in one question, since its answer stands for the whole list."""
    good, bad, faults = [], [], []
    for name in names:
        try:
            client.require_tunable(client.resolve_model(name))
            good.append(name)
        except (NotFound, NotTunable, Ambiguous) as error:
            bad.append(name)
            faults.append(str(error))
    if not faults:
        return None
    others = f" Name all that are meant, with {', '.join(good)}, which can be tuned." if good else ""
    text = f"{' '.join(faults)} Which base models?{others}"
    return Question(field="base_models", words=", ".join(bad), text=text)


def _pair_model(client: FireworksClient, role: str, name: str) -> Question | None:
    if not name:
        return None
    try:
        client.resolve_model(name)
    except (NotFound, Ambiguous) as error:
        return Question(field=f"pairs.{role}", words=name, text=f"{error} Which {role} model?")
    return None
