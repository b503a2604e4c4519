"""A run that is stopped leaves no batch job that goes on costing, and loses no answers of one that is done."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from blocks.bulk import ChatRequest
from blocks.client import FireworksClient
from blocks.journal import Journal
from blocks.workspace import Workspace
from preference.pair_plan import STRONG_ANSWERS
from preference.session import resource
from tasks.evaluation import JOURNAL
from tasks.pair_batch import FOLDER, Part, open_parts, stop_batches
from tasks.spending import ledger

SESSION = "1779157376-41e1"


def begun(client: FireworksClient, workspace: Workspace, number: int, prompt: str) -> Part:
    part = Part(
        job=resource(SESSION, f"pairs-b{number:04d}"),
        line=STRONG_ANSWERS,
        model="accounts/fireworks/models/tiny",
        requests=[([{"role": "user", "content": prompt}], {"max_tokens": 8})],
    )
    workspace.write(f"{FOLDER}/{part.job}.json", part)
    assert [each.job for each in open_parts(workspace)][-1] == part.job  # which announces its calls
    requests = [ChatRequest(w.key, w.model, w.messages, w.parameters) for w in part.wanted()]
    client.start_batch(part.job, requests, workspace.directory(FOLDER, "files"))
    return part


def wait_for(client: FireworksClient, part: Part, state: str) -> None:
    deadline = time.monotonic() + 60
    while client.get_batch_inference_job(part.job).state != state:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_under_way_is_ended_and_one_that_is_done_keeps_its_answers(local_server, tmp_path: Path):
    workspace = Workspace(SESSION, tmp_path)
    with FireworksClient(local_server.url, account="local", session=SESSION) as client:
        done = begun(client, workspace, 1, "Say what an oak is")
        wait_for(client, done, "JOB_STATE_COMPLETED")
        slow = begun(client, workspace, 2, "!slow=60 Say what an elm is")
        wait_for(client, slow, "JOB_STATE_RUNNING")
        assert stop_batches(client, workspace) == []
        assert [job.name.rsplit("/", 1)[-1] for job in client.list_batch_inference_jobs()] == [done.job]
    assert [part.job for part in open_parts(workspace)] == [done.job]
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        assert journal.failure(slow.wanted()[0].key) == f"batch job {slow.job} was ended before it was done"
    assert ledger(workspace).spent(STRONG_ANSWERS).open == [
        slow.job
    ]  # what it had answered is billed, nobody knows how much
