"""Prefect's artifacts, each once a run: one that goes on from a suspension comes by its pages again."""

from __future__ import annotations

import json
from typing import Any

from prefect import artifacts
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.context import FlowRunContext


def create_markdown_artifact(markdown: str, *, key: str, description: str) -> None:
    if not _is_there(key, markdown):
        artifacts.create_markdown_artifact(markdown, key=key, description=description)


def create_table_artifact(table: list[dict[str, Any]], *, key: str, description: str) -> None:
    if not _is_there(key, table):
        artifacts.create_table_artifact(table, key=key, description=description)


def create_link_artifact(link: str, *, key: str, link_text: str, description: str) -> None:
    if not _is_there(key, f"[{link_text}]({link})"):
        artifacts.create_link_artifact(link, key=key, link_text=link_text, description=description)


def _is_there(key: str, data: Any) -> bool:
    """Whether the newest artifact of this flow run under the key says the same."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return False
    ours = ArtifactFilter(
        key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[context.flow_run.id])
    )
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ours, sort=ArtifactSort.CREATED_DESC, limit=1)
    return bool(found) and _plain(found[0].data) == _plain(data)


def _plain(data: Any) -> Any:
    """As Prefect keeps it: text, or for a table the same JSON whether or not it is parsed."""
    if isinstance(data, str):
        try:
            return json.loads(data)
        except json.JSONDecodeError:
            return data
    return json.loads(json.dumps(data, default=str))
