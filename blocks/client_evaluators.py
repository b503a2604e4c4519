"""Evaluators: their source comes as an archive or inline, and goes up as an archive."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from blocks import archive, transfer
from blocks.adopt import create_or_adopt, find_or_none
from blocks.client_base import ClientBase
from blocks.client_datasets import signed_urls
from blocks.errors import BadAnswer, Failed, Refused
from preference.wire import Criterion, Evaluator, resource_id


class Evaluators(ClientBase):
    def create_evaluator(self, evaluator_id: str, evaluator: Evaluator) -> Evaluator:
        """POST evaluatorsV2. The ID goes into the body; it may need the admin role."""
        body = {"evaluatorId": self._new_id(evaluator_id), "evaluator": _settable(evaluator)}
        return Evaluator.parse(self._connection.send("POST", self._collection("evaluatorsV2"), json=body))

    def get_evaluator(self, name: str) -> Evaluator:
        """GET evaluators/{name}."""
        return Evaluator.parse(self._connection.send("GET", self._path("evaluators", name)))

    def list_evaluators(self, **query: Any) -> list[Evaluator]:
        """GET evaluators, all pages."""
        return [Evaluator.parse(e) for e in self._pages(self._collection("evaluators"), "evaluators", **query)]

    def delete_evaluator(self, name: str) -> None:
        """DELETE evaluators/{name}, if a session of ours made it."""
        self._delete("evaluators", name)

    def get_evaluator_source(self, name: str) -> dict[str, str]:
        """GET evaluators/{name}:getSourceCodeSignedUrl: {archive: signed address}."""
        return signed_urls(self._connection.send("GET", self._path("evaluators", name, "getSourceCodeSignedUrl")))

    def evaluator_build_log(self, name: str) -> str:
        """GET evaluators/{name}:getBuildLogEndpoint, and the log behind it; "" where there is none."""
        answer = self._connection.send("GET", self._path("evaluators", name, "getBuildLogEndpoint"))
        url = str(answer.get("buildLogSignedUri") or "")
        return self._connection.get_signed(url) if url else ""

    def upload_evaluator(self, name: str, folder: Path) -> None:
        """Pack the folder, PUT it to its signed address, and have it built."""
        with tempfile.TemporaryDirectory(prefix="prefworks-") as scratch:
            packed = archive.pack(folder, Path(scratch) / f"{folder.resolve().name}.tar.gz")
            [shard] = transfer.shards(packed, shard_bytes=archive.MAX_PACKED_BYTES + 1)
            answer = self._connection.send(
                "POST",
                self._path("evaluators", name, "getUploadEndpoint"),
                json={"filenameToSize": {shard.name: shard.size}},
                repeatable=True,
            )
            transfer.upload(self._connection, shard, signed_urls(answer, {shard.name})[shard.name])
        self._connection.send("POST", self._path("evaluators", name, "validateUpload"), json={}, repeatable=True)

    def ensure_evaluator(
        self, evaluator_id: str, evaluator: Evaluator, folder: Path, *, timeout_s: float = 1800
    ) -> Evaluator:
        """The evaluator with this ID and the folder's source, ACTIVE: made now, or by an earlier call."""
        found = create_or_adopt(
            self._connection,
            f"evaluator {evaluator_id}",
            Evaluator.parse(_settable(evaluator)),
            lambda: self.create_evaluator(evaluator_id, evaluator),
            lambda: find_or_none(lambda: self.get_evaluator(evaluator_id)),
        )
        if found.state != "ACTIVE":
            self.upload_evaluator(evaluator_id, folder)
        return self._wait(
            f"evaluator {evaluator_id}",
            lambda: self.get_evaluator(evaluator_id),
            _is_active,
            timeout_s=timeout_s,
        )

    def download_evaluator_source(self, name: str, folder: Path) -> Path:
        """The evaluator's project, in a folder under `folder`: unpacked, or written from inline code.

        Nothing is run, no path leaves the folder, links and devices are refused, sizes are bounded.
        """
        evaluator = self.get_evaluator(name)
        if inline := _inline_files(evaluator.criteria or []):
            return archive.write_files(inline, folder / resource_id(evaluator.name))
        urls = self.get_evaluator_source(name)
        if len(urls) != 1:
            raise BadAnswer(f"evaluator {name} has {len(urls)} source archives; one was expected: {sorted(urls)}.")
        [(key, url)] = urls.items()
        packed = folder / transfer.file_name(key)
        folder.mkdir(parents=True, exist_ok=True)
        transfer.download(self._connection, url, packed, max_bytes=archive.MAX_PACKED_BYTES)
        return archive.unpack(packed, folder)


def _inline_files(criteria: list[Criterion]) -> dict[str, str]:
    """{path: code} of all criteria; two of the same name must not differ."""
    files: dict[str, str] = {}
    for criterion in criteria:
        for path, code in ((criterion.code_snippets and criterion.code_snippets.file_contents) or {}).items():
            if files.setdefault(path, code) != code:
                raise Refused(f"the evaluator's criteria have two different files called {path!r}; rename one.")
    return files


def _is_active(evaluator: Evaluator) -> bool:
    if evaluator.state == "BUILD_FAILED":
        said = evaluator.status.message if evaluator.status else "no reason given"
        raise Failed(f"evaluator {evaluator.name} could not be built: {said} Its build log says more.")
    return evaluator.state == "ACTIVE"


def _settable(evaluator: Evaluator) -> dict[str, Any]:
    return {k: v for k, v in evaluator.to_json().items() if k not in ("name", "state", "status")}
