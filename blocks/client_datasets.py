"""Datasets: create, upload small or large, wait, download. Rows cannot change once they are uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blocks import transfer
from blocks.adopt import create_or_adopt, find_or_none
from blocks.client_base import ClientBase
from blocks.connection import TRANSFER_TIMEOUT, TRIES
from blocks.errors import BadAnswer, Failed, NotReached, Refused, TransferFailed, Unavailable
from preference.wire import Dataset

SMALL_UPLOAD_BYTES = 150_000_000  # the most that :upload takes


class Datasets(ClientBase):
    small_upload_bytes: int = SMALL_UPLOAD_BYTES
    shard_bytes: int = transfer.SHARD_BYTES

    def create_dataset(
        self, dataset_id: str, *, example_count: int, display_name: str | None = None, format: str = "CHAT"
    ) -> Dataset:
        """POST datasets. Preference rows are CHAT, too; example_count is the number of non-empty lines."""
        spec = Dataset(example_count=example_count, display_name=display_name, format=format, user_uploaded={})
        body = {"datasetId": self._new_id(dataset_id), "dataset": _settable(spec)}
        return Dataset.parse(self._connection.send("POST", self._collection("datasets"), json=body))

    def get_dataset(self, name: str) -> Dataset:
        """GET datasets/{name}."""
        return Dataset.parse(self._connection.send("GET", self._path("datasets", name)))

    def list_datasets(self, account: str | None = None, **query: Any) -> list[Dataset]:
        """GET datasets, all pages; `filter` and `orderBy` as the API has them."""
        return [Dataset.parse(d) for d in self._pages(self._collection("datasets", account), "datasets", **query)]

    def delete_dataset(self, name: str) -> None:
        """DELETE datasets/{name}, if a session of ours made it."""
        self._delete("datasets", name)

    def upload_file(self, name: str, path: Path) -> None:
        """POST datasets/{name}:upload, one multipart file of at most 150 MB."""
        with path.open("rb") as file:
            files = {"file": (path.name, file, "application/octet-stream")}
            timeout = TRANSFER_TIMEOUT
            self._connection.send("POST", self._path("datasets", name, "upload"), files=files, timeout=timeout)

    def get_upload_endpoint(self, name: str, filename_to_size: dict[str, int]) -> dict[str, str]:
        """POST datasets/{name}:getUploadEndpoint: a signed address for each file.

        Each call replaces the registered files, so all shards are named in one.
        """
        answer = self._connection.send(
            "POST",
            self._path("datasets", name, "getUploadEndpoint"),
            json={"filenameToSize": filename_to_size},
            repeatable=True,
        )
        return signed_urls(answer, set(filename_to_size))

    def validate_upload(self, name: str) -> None:
        """POST datasets/{name}:validateUpload. Before all bytes have landed it would wedge the dataset."""
        self._connection.send("POST", self._path("datasets", name, "validateUpload"), json={}, repeatable=True)

    def get_download_endpoint(self, name: str) -> dict[str, str]:
        """GET datasets/{name}:getDownloadEndpoint: {object path: signed address}."""
        return signed_urls(self._connection.send("GET", self._path("datasets", name, "getDownloadEndpoint")))

    def upload_dataset(self, name: str, path: Path) -> None:
        """Send the rows, by one request or in shards over signed addresses; does not wait for READY."""
        if path.stat().st_size <= self.small_upload_bytes:
            self.upload_file(name, path)
            return
        shards = transfer.shards(path, self.shard_bytes)
        urls = self.get_upload_endpoint(name, {shard.name: shard.size for shard in shards})
        for shard in shards:
            transfer.upload(self._connection, shard, urls[shard.name])
        self.validate_upload(name)

    def wait_for_dataset(self, name: str, *, timeout_s: float = 1800) -> Dataset:
        """The dataset once it is READY. Failed where its status says that it never will be."""
        return self._wait(f"dataset {name}", lambda: self.get_dataset(name), _is_ready, timeout_s=timeout_s)

    def ensure_dataset(
        self,
        dataset_id: str,
        path: Path,
        *,
        example_count: int,
        display_name: str | None = None,
        timeout_s: float = 1800,
    ) -> Dataset:
        """The dataset with this ID, READY: made and uploaded now, or by an earlier call that was cut off."""
        spec = Dataset(example_count=example_count)
        found = create_or_adopt(
            self._connection,
            f"dataset {dataset_id}",
            spec,
            lambda: self.create_dataset(dataset_id, example_count=example_count, display_name=display_name),
            lambda: find_or_none(lambda: self.get_dataset(dataset_id)),
        )
        if not _is_ready(found):
            self._upload_once(dataset_id, path)
        return self.wait_for_dataset(dataset_id, timeout_s=timeout_s)

    def _upload_once(self, dataset_id: str, path: Path) -> None:
        """Upload; where it is unclear whether that was carried out, or someone else did, READY decides."""
        waits = self._connection.waits()
        for left in range(TRIES - 1, -1, -1):
            try:
                self.upload_dataset(dataset_id, path)
                return
            except (NotReached, Unavailable, TransferFailed, BadAnswer, Refused) as error:
                if _is_ready(self.get_dataset(dataset_id)):
                    return
                if error.status == 405:
                    raise Failed(
                        f"dataset {dataset_id} is stuck in UPLOADING: it was validated before all bytes had landed. "
                        "Delete it, and upload under a new ID."
                    ) from error
                if isinstance(error, Refused) or not left:
                    raise
            self._connection.sleep(next(waits))

    def download_dataset(self, name: str, folder: Path) -> list[Path]:
        """The dataset's files in the folder, sorted by name; streamed, resumed, sizes checked."""
        return transfer.download_all(self._connection, self.get_download_endpoint(name), folder)


def signed_urls(answer: dict[str, Any], wanted: set[str] | None = None) -> dict[str, str]:
    """filenameToSignedUrls of an answer, with every wanted name in it."""
    urls = answer.get("filenameToSignedUrls") or {}
    if wanted is not None and (missing := wanted - urls.keys()):
        raise BadAnswer(f"the platform gave no signed address for {', '.join(sorted(missing))}.")
    return {str(name): str(url) for name, url in urls.items()}


def _settable(spec: Dataset) -> dict[str, Any]:
    return {k: v for k, v in spec.to_json().items() if k not in ("name", "state")}


def _is_ready(dataset: Dataset) -> bool:
    if dataset.state == "READY":
        return True
    if dataset.status is not None and dataset.status.code not in ("OK", ""):
        raise Failed(
            f"dataset {dataset.name} cannot be used: {dataset.status.code}: {dataset.status.message} "
            "Mend the rows and upload them under a new ID."
        )
    return False
