"""What the platform knows of the names that a request gives, looked up before anything is fetched."""

from __future__ import annotations

import re
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
def look_up_names(platform: FireworksPlatform, request: PreferenceRequest, said: list[str]) -> list[Question]:
    """A question for each name that is not there: the evaluator, and what came out of a text (said: its fields)."""
    with platform.get_client() as client:
        found = [_evaluator(client, request.evaluator)]
        if "base_models" in said:
            found += [_base_model(client, name) for name in request.base_models]
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


def _base_model(client: FireworksClient, name: str) -> Question | None:
    try:
        client.require_tunable(client.resolve_model(name))
    except (NotFound, NotTunable, Ambiguous) as error:
        return Question(field="base_models", words=name, text=f"{error} Which base models?")
    return None
