"""Prefect's UI in a real browser: the run form, both gates, the artifacts, as a user meets them."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psutil
import pytest

from blocks.workspace import Workspace
from tests.e2e.browsing import cancel, choose, open_resume_form, open_run_form, picture, retry
from tests.e2e.conftest import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_run_is_started_approved_reviewed_and_read_in_the_browser(
    prefect_up, local_server, page, tmp_path, pairs_and_judge, save_block
):
    prefect, _ = prefect_up
    save_block("scripted", local_server.url)

    open_run_form(page, prefect)
    for label, value in {
        "What to do, in plain English": "Run DPO using accounts/fireworks/models/tiny.",
        "Dataset": pairs_and_judge["dataset"],
        "Evaluator": pairs_and_judge["evaluator"],
        "Held-out dataset": pairs_and_judge["held_out"],
        "Platform": "scripted",
        "Context length (tokens)": "512",
    }.items():
        page.get_by_label(label).first.fill(value)
    page.get_by_label("What to do, in plain English").first.scroll_into_view_if_needed()
    picture(page, "run-form")
    page.get_by_role("button", name="Submit").click()

    run = prefect.wait_at("plan")
    form = open_resume_form(page, prefect, run)
    form.get_by_text("Plan: tune").first.wait_for()  # the page is drawn after the fields
    form.get_by_text("6 jobs").first.wait_for()
    picture(page, "plan-gate")
    choose(page, form, "change")
    form.get_by_label("What to change").fill("Use learning rates 1e-4 and 3e-4 with beta 0.1.")
    form.get_by_role("button", name="Resume").click()

    first = run["state"]["state_details"]["pause_key"]
    run = prefect.wait_at("plan", but=first)
    form = open_resume_form(page, prefect, run)
    form.get_by_text("2 jobs").first.wait_for()
    picture(page, "changed-plan")
    choose(page, form, "approve")
    form.get_by_role("button", name="Resume").click()

    run = prefect.wait_at("comparison")
    form = open_resume_form(page, prefect, run)
    form.get_by_text("base: ").first.wait_for()
    picture(page, "comparison-gate")
    choose(page, form, "promote")
    form.get_by_label("Candidate").fill("t1")
    form.get_by_role("button", name="Resume").click()
    run = prefect.wait_for(lambda run: run["state"]["type"] == "COMPLETED")

    page.goto(f"{prefect.root}/v2/runs/flow-run/{run['id']}?tab=Artifacts")
    for key in ("dataset-profile", "plan", "comparison", "endpoint", "final-report"):
        page.get_by_text(key, exact=True).first.wait_for()
    picture(page, "artifacts")
    found = prefect.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    [report] = [a for a in found if a["key"] == "final-report"]
    page.goto(f"{prefect.root}/v2/artifacts/artifact/{report['id']}")
    shown = page.get_by_test_id("markdown-display").first  # the list of versions beside it says the same words
    shown.get_by_text("Promoted t1").first.wait_for()
    shown.locator("img").nth(2).wait_for()  # drawn after the words
    drawn = "images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth > 0)))"
    assert shown.locator("img").evaluate_all(drawn) == [True] * 3
    picture(page, "final-report")


def test_what_the_form_can_know_to_be_wrong_is_refused_in_the_form(prefect_up, page):
    prefect, _ = prefect_up
    n_runs = prefect.post("/flow_runs/count", {})
    open_run_form(page, prefect)
    page.get_by_label("Dataset").first.fill("train.jsonl")
    page.get_by_label("Held-out share").first.fill("2")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("2 is greater than or equal to the maximum of 1").first.wait_for()
    picture(page, "refused")
    assert prefect.post("/flow_runs/count", {}) == n_runs


def test_a_run_is_cancelled_at_its_gate_and_nothing_was_trained(
    prefect_up, local_server, page, pairs_and_judge, save_block
):
    prefect, environment = prefect_up
    save_block("scripted", local_server.url)
    request = {**pairs_and_judge, "base_models": ["tiny"], "platform": "scripted"}
    deployment = prefect.deployment("preference-learning")
    made = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"request": request}})
    prefect.wait_at("plan")
    cancel(page, prefect, made)
    picture(page, "cancelled")
    run = prefect.wait_for(lambda run: run["state"]["type"] == "CANCELLED")
    session = run["name"].split()[0]
    workspace = Workspace(session, Path(environment["PREFWORKS_HOME"]))
    wait_until(lambda: workspace.read_json("session.json")["state"] == "cancelled")
    assert workspace.lines("approvals.jsonl") == []
    assert httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"] == []


def test_a_run_whose_process_died_at_its_gate_is_retried_and_asks_again_what_was_not_answered(
    prefect_up, local_server, page, pairs_and_judge, save_block, shell
):
    prefect, environment = prefect_up
    save_block("scripted", local_server.url)
    request = {**pairs_and_judge, "base_models": ["tiny"], "platform": "scripted"}
    deployment = prefect.deployment("preference-learning")
    prefect.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"request": request}})
    run = prefect.wait_at("plan")
    workspace = Workspace(run["name"].split()[0], Path(environment["PREFWORKS_HOME"]))
    code, said = shell("update", workspace.session, "--instruction", "Use LoRA rank 16.")
    assert code == 0, said
    run = prefect.wait_at("plan", but=run["state"]["state_details"]["pause_key"])
    plan, holder = workspace.path("plan.md").read_text(), workspace.holder()
    datasets = httpx.get(f"{local_server.url}/v1/accounts/local/datasets").json()["datasets"]
    assert holder is not None
    psutil.Process(holder.pid).kill()

    def state() -> str:
        found: str = prefect.http.get(f"/flow_runs/{run['id']}").raise_for_status().json()["state"]["type"]
        return found

    wait_until(lambda: state() == "CRASHED")
    time.sleep(15)  # as a human takes at least: the worker reports the crash a second time
    retry(page, prefect, run)
    wait_until(lambda: state() != "CRASHED")
    again = prefect.wait_at("plan")
    assert again["id"] == run["id"]
    asked = f"/flow_runs/{run['id']}/input/{again['state']['state_details']['run_input_keyset']['description']}"
    assert prefect.http.get(asked).raise_for_status().json() == plan
    form = open_resume_form(page, prefect, again)
    form.get_by_text("Plan: tune").first.wait_for()
    picture(page, "retried")
    choose(page, form, "reject")
    form.get_by_role("button", name="Resume").click()
    ended = prefect.wait_for(lambda run: run["state"]["type"] == "COMPLETED")
    assert ended["state"]["name"] == "Rejected"
    assert [line["answer"]["decision"] for line in workspace.lines("approvals.jsonl")] == ["change", "reject"]
    assert workspace.path("plan.md").read_text() == plan
    assert httpx.get(f"{local_server.url}/v1/accounts/local/datasets").json()["datasets"] == datasets
