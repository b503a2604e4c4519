"""Datasets: their files on disk and the way from UPLOADING to READY."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from local_server.config import ACCOUNT
from local_server.errors import ApiError, invalid, precondition
from local_server.files import safe_name
from local_server.rows import RowFault, count_rows
from local_server.store import Record, Store

logger = logging.getLogger("local_server")

DATASETS = f"accounts/{ACCOUNT}/datasets"
_JOINED = ".joined.jsonl"  # all shards in one file, for the trainer; hidden, so that it is not taken for a shard


class Datasets:
    def __init__(self, home: Path, store: Store) -> None:
        self._home = home
        self._store = store
        self._checks: set[asyncio.Task[None]] = set()
        self._joining = threading.Lock()

    def folder(self, dataset: Record) -> Path:
        return self._home / "datasets" / dataset.id

    def files(self, dataset: Record) -> list[Path]:
        return sorted(path for path in self.folder(dataset).glob("*") if not path.name.startswith("."))

    def create(self, dataset_id: str, body: dict[str, Any]) -> Record:
        record = self._store.create(f"{DATASETS}/{dataset_id}", {**body, "state": "UPLOADING"})
        shutil.rmtree(self.folder(record), ignore_errors=True)  # left by a crash within an earlier delete
        self.folder(record).mkdir(parents=True)
        return record

    def delete(self, name: str) -> None:
        record = self._store.get(name)
        self._store.delete(name)
        shutil.rmtree(self.folder(record), ignore_errors=True)

    def expect_uploading(self, dataset: Record) -> None:
        """Rows cannot be changed after the upload. Raises FAILED_PRECONDITION."""
        if dataset.state != "UPLOADING":
            raise precondition(f"{dataset.name} is {dataset.state}; rows cannot be changed after the upload")

    def announce(self, dataset: Record, sizes: dict[str, int]) -> None:
        """Register the files of a large upload; each call replaces the set, and what had come of another set goes."""
        self.expect_uploading(dataset)
        if dataset.private.get("checking"):
            raise ApiError("UNAVAILABLE", f"the rows of {dataset.name} are being checked; try again")
        if dataset.private.get("validated_too_early"):
            raise ApiError(
                "UNIMPLEMENTED",
                f"{dataset.name}: Method Not Allowed: the upload was validated before its bytes had landed; "
                "create a dataset under a new ID",
                status=405,
            )
        for name, size in sizes.items():
            safe_name(name)
            if size <= 0:
                raise invalid(f"filenameToSize: {name} must have more than 0 bytes, found {size}")
        for path in self.files(dataset):
            if path.name not in sizes:
                path.unlink()
        self._store.update(dataset.name, private={"announced": sizes})

    async def accept(self, dataset: Record, upload: Path, filename: str) -> None:
        """A small upload, checked at once: READY, or INVALID_ARGUMENT with the line and `upload` left."""
        self.expect_uploading(dataset)
        try:
            await asyncio.to_thread(self._check, dataset, [upload])
        except RowFault as fault:
            raise invalid(f"{dataset.name}: {str(fault).replace(upload.name, filename)}") from None
        self.expect_uploading(self._store.get(dataset.name))  # another upload, or a delete, may have come meanwhile
        for path in self.files(dataset):
            path.unlink()
        upload.rename(self.folder(dataset) / safe_name(filename))
        self._ready(dataset.name)

    async def fill(self, dataset: Record, files: dict[str, Path]) -> None:
        """Give a dataset of the server's own making its files: READY."""
        folder = self.folder(dataset)
        for name, path in files.items():
            partial = folder / f".{name}.partial"
            await asyncio.to_thread(shutil.copyfile, path, partial)
            partial.rename(folder / safe_name(name))
        self._ready(dataset.name)

    def validate(self, dataset: Record) -> None:
        """The end of a large upload; the check of its rows goes on behind the answer."""
        if dataset.state == "READY":
            return
        announced: dict[str, int] = dataset.private.get("announced", {})
        landed = {path.name: path.stat().st_size for path in self.files(dataset)}
        if not announced or landed != announced:
            missing = ", ".join(sorted(name for name, size in announced.items() if landed.get(name) != size))
            status = {
                "code": "FAILED_PRECONDITION",
                "message": f"not all bytes have landed: {missing or 'no file'}",
            }
            # as the cloud: the dataset stays UPLOADING for good (docs say nothing; seen in the field)
            self._store.update(dataset.name, {"status": status}, {"validated_too_early": True})
            return
        self._store.update(dataset.name, private={"checking": True})
        self._check_behind(dataset.name)

    def recover(self) -> None:
        """Go on with checks that a stopped server had begun; forget folders without a dataset."""
        known = {dataset.id for dataset in self._store.all(DATASETS)}
        for folder in (self._home / "datasets").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        for dataset in self._store.all(DATASETS):
            self.folder(dataset).mkdir(parents=True, exist_ok=True)  # a kill may have come between name and folder
            if dataset.private.get("checking"):
                self._check_behind(dataset.name)

    def _check_behind(self, name: str) -> None:
        task = asyncio.create_task(self._check_large(name))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check_large(self, name: str) -> None:
        dataset = self._store.find(name)
        if dataset is None:
            return
        try:
            await asyncio.to_thread(self._check, dataset, self.files(dataset))
        except (RowFault, OSError) as fault:
            if self._store.find(name):
                status = {"code": "INVALID_ARGUMENT", "message": str(fault)}
                self._store.update(name, {"status": status}, {"checking": None})
            return
        if self._store.find(name):
            self._ready(name)

    def _check(self, dataset: Record, paths: list[Path]) -> None:
        """Raises RowFault."""
        found, stated = count_rows(paths), int(dataset.body["exampleCount"])
        if found != stated:
            raise RowFault(f"exampleCount says {stated}, and the upload has {found} non-empty lines")

    def _ready(self, name: str) -> None:
        status = {"code": "OK", "message": ""}
        self._store.update(name, {"state": "READY", "status": status}, {"checking": None})
        logger.info("%s: READY", name)

    def single_file(self, dataset: Record) -> Path:
        """All rows as one file: the file itself, or the shards joined in the order of their names."""
        files = self.files(dataset)
        if len(files) == 1:
            return files[0]
        joined = self.folder(dataset) / _JOINED
        with self._joining:  # jobs that begin at once ask at once, from threads
            if not joined.exists():
                partial = joined.with_suffix(".partial")
                with partial.open("wb") as target:
                    for path in files:
                        _append(path, target)
                partial.rename(joined)
        return joined


def _append(path: Path, target: Any) -> None:
    with path.open("rb") as source:
        shutil.copyfileobj(source, target, 1 << 20)
    with path.open("rb") as source:
        source.seek(-1, 2)
        if source.read(1) != b"\n":
            target.write(b"\n")
