"""Phase 1: the data is fetched once, checked whole, split without leaks, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.client import FireworksClient
from blocks.client_models import FIREWORKS, is_tunable
from blocks.errors import Ambiguous, NotFound, NotTunable, PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace, prefworks_home
from preference import formats, splits
from preference.bases import DataSize, PlannedBase, named_bases
from preference.profile import profile
from preference.row_index import RowIndex
from preference.session import resource
from preference.settings import PreferenceRequest
from preference.tokens import ExactCounter, TokenizerMissing, counter_for
from preference.wire import Model, resource_id
from tasks.progress import say

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Staged(BaseModel):
    """One dataset as it was fetched: where from, and what the check found."""

    dataset: str  # full name on the platform
    intake: formats.Intake


class BaseModelsRefused(ValueError):
    """Some of the base models cannot be tuned here; the message says which, why, and the nearest that can."""


@task(task_run_name="resolve-base-models")  # the client tries again by itself where that helps
def resolve_base_models(
    platform: FireworksPlatform, workspace: Workspace, names: Sequence[str], curated: Sequence[str]
) -> list[Model]:
    """The base models that were meant, in that order; without names those of the catalogue that can be tuned now.

    curated: IDs for a model sweep; empty: all that the platform lists as tunable. Raises BaseModelsRefused with every
    fault at once: a base that cannot be tuned is never left out silently.
    """
    with platform.get_client() as client:
        return _meant(client, names) if names else _catalogue(client, workspace, curated)


def _meant(client: FireworksClient, names: Sequence[str]) -> list[Model]:
    found: dict[str, Model] = {}
    faults = []
    for name in names:
        try:
            model = client.resolve_model(name)
            client.require_tunable(model)
        except (NotFound, NotTunable, Ambiguous) as error:
            faults.append(str(error))
        else:
            found[model.name] = model
    if faults:
        raise BaseModelsRefused("\n".join(faults))
    return list(found.values())


def _catalogue(client: FireworksClient, workspace: Workspace, curated: Sequence[str]) -> list[Model]:
    tunable = {resource_id(m.name): m for m in client.list_models(FIREWORKS) if is_tunable(m)}
    found = [tunable[i] for i in curated if i in tunable] if curated else list(tunable.values())
    if gone := [i for i in curated if i not in tunable]:
        say(workspace, "inspect", f"of the catalogue's base models, these cannot be tuned here: {', '.join(gone)}")
    if not found:
        which = f"none of {', '.join(curated)}" if curated else "no base model at all"
        raise BaseModelsRefused(
            f"a model sweep needs base models, and the platform can tune {which}: name base_models."
        )
    return found


@task(task_run_name="stage-{role}", cache_policy=NO_CACHE)  # not retried: bad data stays bad
def stage_dataset(platform: FireworksPlatform, workspace: Workspace, source: str, role: str) -> Path:
    """Fetch a dataset once and check every row; a local file is checked and uploaded first, under a new name.

    Gives the canonical file. Raises BadDataset with all faults.
    """
    target = workspace.path("dataset", f"{role}.source.jsonl")
    record = f"dataset/{role}.staged.json"
    if (staged := workspace.read(record, Staged)) is not None and target.exists():
        if RowIndex.load(target).content_hash() != staged.intake.content_hash:
            raise formats.BadDataset(
                f"{target} is not what was fetched for this session, and everything was planned on that. "
                "Start a new session."
            )
        return target
    with platform.get_client(workspace.session) as client:
        own: formats.Intake | None = None
        if formats.is_local(source):
            source, own = _upload(client, workspace, formats.local_file(source), role)
        dataset = client.wait_for_dataset(source)
        folder = workspace.directory("dataset", "download", role)
        files = client.download_dataset(dataset.name, folder)
        intake = formats.stage(joined(files, folder), target)
    if own is not None:  # what was converted and dropped was so before the upload
        if own.content_hash != intake.content_hash:
            raise formats.BadDataset(
                f"{dataset.name} does not hold the rows that were uploaded from {own.source}: {intake.n_rows} rows "
                f"came back of {own.n_rows}, or others. Start a new session."
            )
        intake = own
    workspace.write(record, Staged(dataset=dataset.name, intake=intake))
    say(workspace, "inspect", f"{role}: {intake.n_rows} rows of {dataset.name}")
    return target


def _upload(client: FireworksClient, workspace: Workspace, path: Path, role: str) -> tuple[str, formats.Intake]:
    """The local file's rows, checked and in the API's format, as a new dataset; the file itself is only read."""
    canonical = workspace.path("dataset", "upload", f"{role}.jsonl")
    intake = formats.stage(path, canonical)
    dataset = client.ensure_dataset(
        resource(workspace.session, role), canonical, example_count=intake.n_rows, display_name=path.name[:63]
    )
    say(workspace, "inspect", f"{path} was uploaded as {dataset.name}")
    return dataset.name, intake


def joined(files: list[Path], folder: Path) -> Path:
    """One file of a dataset that was uploaded in shards."""
    if len(files) == 1:
        return files[0]
    whole = folder / "all.jsonl"
    with whole.open("wb") as out:
        for file in files:
            for line in file.open("rb"):
                out.write(line if line.endswith(b"\n") else line + b"\n")
    return whole


@task(task_run_name="split-dataset", cache_policy=NO_CACHE)
def split_dataset(workspace: Workspace, request: PreferenceRequest, train: Path, held_out: Path | None) -> splits.Split:
    """Training rows and held-out rows with no prompt on both sides; the same on every machine."""
    ours, theirs = workspace.path("dataset", "train.jsonl"), workspace.path("dataset", "held_out.jsonl")
    if held_out is not None:
        keep = request.keep_leaked_prompts
        split = splits.pair_up(train, held_out, train=ours, held_out=theirs, keep_leaks=keep)
    else:
        split = splits.split(train, share=1 - request.held_out_share, train=ours, held_out=theirs)
    workspace.write("dataset/split.json", split)
    found = [f"{split.n_train_rows} training pairs, {split.n_held_out_prompts} held-out prompts", *split.notes()]
    say(workspace, "inspect", "; ".join(found))
    return split


@task(task_run_name="measure-data", cache_policy=NO_CACHE)
def measure_data(
    platform: FireworksPlatform,
    workspace: Workspace,
    request: PreferenceRequest,
    base_models: Sequence[Model],
    split: splits.Split,
) -> list[PlannedBase]:
    """Token statistics of both sides, by each base model's own tokenizer where the platform hands it out."""
    sizes = [
        _measure(platform, workspace, request, base, split, "" if n == 0 else f"-{resource_id(base.name)}")
        for n, base in enumerate(base_models)
    ]
    return named_bases(base_models, sizes)


def _measure(
    platform: FireworksPlatform,
    workspace: Workspace,
    request: PreferenceRequest,
    base_model: Model,
    split: splits.Split,
    suffix: str,
) -> DataSize:
    """One base's; its whole profile goes to the folder."""
    counter = counter_for(tokenizer_folder(platform, workspace, base_model))
    limits = {"training": request.sweep.max_context_length}
    if longest := base_model.training_context_length or base_model.context_length:
        limits[resource_id(base_model.name)] = longest
    cache = prefworks_home() / "token-counts"
    intakes = [
        staged.intake if (staged := workspace.read(f"dataset/{role}.staged.json", Staged)) else None
        for role in ("data", "held-out")
    ]
    train = profile(
        split.train,
        counter,
        intake=intakes[0],
        context_lengths=limits,
        cache=cache,
    )
    held_out = profile(split.held_out, counter, intake=intakes[1], context_lengths=limits, cache=cache)
    workspace.write(
        f"dataset/profile{suffix}.json",
        {"train": train.to_json(), "held_out": held_out.to_json(), "split": split.model_dump(mode="json")},
    )
    selection, confirmation = splits.halves(split.held_out)
    tokens = train.tokens
    return DataSize(
        n_train=train.n_rows,
        n_held_out=held_out.n_prompts,
        n_selection=len(selection),
        n_confirmation=len(confirmation),
        train_prompt_tokens=tokens.prompt.total,
        train_chosen_tokens=tokens.chosen.total if tokens.chosen else 0,
        train_rejected_tokens=tokens.rejected.total if tokens.rejected else 0,
        held_out_prompt_tokens=held_out.tokens.prompt.total,
        longest_tokens=tokens.longest.max,
        exact=tokens.error is None,
        n_over_context=train.n_over_context["training"],
        notes=[*(note for intake in intakes if intake for note in intake.notes()), *split.notes()],
        train_profile=train.rows(),
    )


def tokenizer_folder(platform: FireworksPlatform, workspace: Workspace, base_model: Model) -> Path | None:
    """The base model's tokenizer and chat template, fetched once; None where the platform keeps them."""
    folder = workspace.directory("dataset", "tokenizer", resource_id(base_model.name))
    wanted = [name for name in TOKENIZER_FILES if not (folder / name).exists()]
    try:
        with platform.get_client() as client:
            if wanted:
                client.download_model_files(base_model.name, folder, wanted)
        ExactCounter(folder)
    except (PlatformError, TokenizerMissing) as error:
        say(workspace, "inspect", f"token counts are estimates: {error}")
        return None
    return folder


@task(
    task_run_name="upload-training-set", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10
)  # safe: its ID was chosen beforehand
def upload_training_set(platform: FireworksPlatform, workspace: Workspace, split: splits.Split) -> str:
    """The training side as a new dataset of its own; its full name."""
    with platform.get_client(workspace.session) as client:
        dataset = client.ensure_dataset(
            resource(workspace.session, "train"), split.train, example_count=split.n_train_rows
        )
    return dataset.name
