"""`prefworks inspect`: what a file or a dataset of the platform holds and what is wrong with it, without a run."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from blocks.client_models import FIREWORKS, is_tunable
from blocks.errors import PlatformError
from flows import services
from flows.connecting import connect
from preference.chat_template import TemplateError
from preference.cost import load_price_book
from preference.formats import BadDataset, Intake, describe_trouble, is_local, local_file
from preference.formats import inspect as read
from preference.profile import Profile, profile, rows_over
from preference.tokens import ExactCounter, TokenCounter, TokenizerMissing, counter_for
from preference.wire import Model, resource_id

FAULTY, UNREADABLE = 1, 2


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_DATASET",
            help="Pairs or prompts: a file (JSON lines, JSON, CSV, Parquet, packed or not), or a platform's dataset.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs; docs/inspect.md has the keys.")] = False,
    tokenizer: Annotated[Path | None, typer.Option(help="A model's folder, for exact token counts.")] = None,
    context_length: Annotated[
        list[int] | None, typer.Option(help="Count rows over so many tokens. May repeat.")
    ] = None,
    base_model: Annotated[
        list[str] | None, typer.Option(help="Count rows over this model's context, in its own tokens. May repeat.")
    ] = None,
    platform: Annotated[str, typer.Option(help="The saved platform to ask for datasets and base models.")] = "local",
) -> None:
    """Show what a dataset holds, and every fault; nothing is changed.

    A dataset of the platform is counted against every base model that a model sweep would take, or those named.

    Example: prefworks inspect pairs.jsonl

    Exit codes: 0 it can be used, 1 rows are at fault, 2 it cannot be read at all.
    """
    limits = {f"{n} tokens": n for n in context_length or []}
    found: Profile | None = None
    intake: Intake | None = None
    code = 0
    try:
        with tempfile.TemporaryDirectory(prefix="prefworks-") as temporary, ExitStack() as stack:
            folder = Path(temporary)
            needed = bool(base_model) or not is_local(source)
            there = _Platform(platform, stack, folder) if needed else _if_up(platform, stack, folder, tokenizer)
            file = local_file(source) if there is None or is_local(source) else there.fetch(source)
            models = there.candidates(base_model or []) if there else []
            counter = there.counter(models[0]) if there and models and tokenizer is None else counter_for(tokenizer)
            staged = folder / "data.jsonl"
            intake = read(file, staged)
            trouble = describe_trouble(intake)
            if trouble:
                code = FAULTY
            else:
                found = profile(staged, counter, intake=intake, context_lengths=limits)
                for model in models:
                    limit = model.training_context_length or model.context_length
                    if there and limit:  # one that does not say how much it takes is left out: unknown is not 0
                        found.n_over_context[resource_id(model.name)] = rows_over(staged, there.counter(model), limit)
    except (BadDataset, TokenizerMissing, PlatformError, _NoPlatform) as error:
        trouble, code = str(error), UNREADABLE
    except TemplateError as error:  # a template without a place for system messages or tools, for one
        trouble, code = f"{error}. Without --tokenizer and --base-model the tokens are estimated.", FAULTY
    except OSError as error:  # a full disk, a broken one
        trouble, code = f"reading {source} broke off: {error}", UNREADABLE
    if as_json:
        value = {
            "trouble": trouble,
            "profile": found.to_json() if found else None,
            "intake": intake.model_dump(mode="json") if intake else None,
        }
        typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        for row in found.rows() if found else []:
            typer.echo(f"{row['what']}: {row['value']}")
        if trouble:
            typer.echo(f"prefworks: {trouble}", err=True)
    raise typer.Exit(code)


class _NoPlatform(Exception):
    """There is no saved platform of that name."""


def _if_up(name: str, stack: ExitStack, folder: Path, tokenizer: Path | None) -> _Platform | None:
    """For a file the platform is asked about base models only where `make up` runs one: reading needs none."""
    if tokenizer is not None or services.running("prefect-server") is None or services.running("local-server") is None:
        return None
    try:
        there = _Platform(name, stack, folder)
        there.candidates([])
    except (_NoPlatform, PlatformError):
        return None
    return there


class _Platform:
    """The saved platform, asked for a dataset and for base models; files go into the folder."""

    def __init__(self, name: str, stack: ExitStack, folder: Path) -> None:
        connect()
        from flows.sessions import CannotStart, load_platform  # Prefect is imported late

        try:
            block = load_platform(name)
        except CannotStart as error:
            raise _NoPlatform(str(error)) from None
        self._client = stack.enter_context(block.get_client())
        self._curated = load_price_book(block.price_book).model_sweep.models
        self._folder = folder

    def fetch(self, name: str) -> Path:
        """The dataset as one file. Raises NotFound."""
        from tasks.inspection import joined

        dataset = self._client.wait_for_dataset(name)
        download = self._folder / "download"
        download.mkdir()
        return joined(self._client.download_dataset(dataset.name, download), download)

    def candidates(self, named: list[str]) -> list[Model]:
        """The base models named, else those that a model sweep would take."""
        if named:
            return [self._client.resolve_model(name) for name in named]
        tunable = [model for model in self._client.list_models(FIREWORKS) if is_tunable(model)]
        return [model for model in tunable if not self._curated or resource_id(model.name) in self._curated]

    def counter(self, model: Model) -> TokenCounter:
        """By the model's own tokenizer and template; the estimate where the platform keeps them."""
        from tasks.inspection import TOKENIZER_FILES

        folder = self._folder / resource_id(model.name)
        folder.mkdir(exist_ok=True)
        try:
            self._client.download_model_files(model.name, folder, TOKENIZER_FILES)
            return ExactCounter(folder)
        except (PlatformError, TokenizerMissing):
            return counter_for(None)
