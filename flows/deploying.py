"""What `prefworks up` has Prefect know: the blocks, the work pool, and the deployments of prefect.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse

from blocks.fireworks import FireworksPlatform
from blocks.judge import JudgeEndpoint

ROOT = Path(__file__).resolve().parent.parent
POOL = "prefworks"


class CannotDeploy(RuntimeError):
    """Prefect's own command failed; the message is what it said."""


def save_blocks(server_port: int) -> None:
    """The local server as the platform `local`, with what its user set there; and the judge's form in the UI."""
    url = f"http://127.0.0.1:{server_port}"
    try:
        block = FireworksPlatform.load("local")
    except ValueError:  # no block of that name yet
        block = FireworksPlatform(base_url=url, account="local", price_book="local")
    assert isinstance(block, FireworksPlatform)  # load is a coroutine only in async code
    block.base_url = url
    block.save("local", overwrite=True)
    JudgeEndpoint.register_type_and_schema()


def deploy() -> None:
    """The work pool and prefect.yaml's deployments; a schedule that is there already stays as its user set it."""
    with get_client(sync_client=True) as client:
        before = {d.name: d.schedules for d in _deployments(client)}
    _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(ROOT / "prefect.yaml"))
    with get_client(sync_client=True) as client:
        for deployment in _deployments(client):
            if kept := before.get(deployment.name):
                schedules = [
                    DeploymentScheduleUpdate(schedule=s.schedule, active=s.active, parameters=s.parameters, slug=s.slug)
                    for s in kept
                ]
                client.update_deployment(deployment.id, DeploymentUpdate(schedules=schedules))


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["prefworks"]))
    return list(client.read_deployments(deployment_filter=ours))


def _prefect(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        cwd=ROOT,
        env={**os.environ, "PWD": str(ROOT)},  # prefect.yaml reads it
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotDeploy(f"`prefect {' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
