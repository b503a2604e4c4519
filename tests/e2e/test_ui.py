"""Prefect's UI in a real browser: the run form, both gates, the artifacts, as a user meets them.

Needs Chromium on the machine (Debian: apt-get install chromium). PREFWORKS_SCREENSHOTS names a folder to keep pictures.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine: apt-get install chromium"),
]


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("PREFWORKS_SCREENSHOTS"):
        page.wait_for_timeout(1500)  # animations
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_resume_form(page: Page, prefect: Any, run: dict[str, Any]) -> Locator:
    """Resume stands in the three-dot menu at the top right of a paused run's page."""
    page.goto(f"{prefect.root}/v2/runs/flow-run/{run['id']}")
    page.locator("button:has(svg.lucide-ellipsis-vertical), button:has(svg.lucide-more-vertical)").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Select").first.wait_for()
    return form


def choose(page: Page, form: Locator, decision: str) -> None:
    form.get_by_role("button", name="Select").first.click()
    page.get_by_role("option", name=decision).click()


def test_a_run_is_started_approved_reviewed_and_read_in_the_browser(
    prefect_up, local_server, page, tmp_path, pairs_and_judge, save_block
):
    prefect, _ = prefect_up
    save_block("scripted", local_server.url)
    deployment = prefect.deployment("preference-learning")

    page.goto(f"{prefect.root}/v2/deployments/deployment/{deployment['id']}/run")
    for label, value in {
        "What to do, in plain English": "Run DPO using accounts/fireworks/models/tiny.",
        "Dataset": pairs_and_judge["dataset"],
        "Evaluator": pairs_and_judge["evaluator"],
        "Held-out dataset": pairs_and_judge["held_out"],
        "Platform": "scripted",
        "Context length (tokens)": "512",
    }.items():
        page.get_by_label(label).first.fill(value)
    picture(page, "run-form")
    page.get_by_role("button", name="Submit").click()

    run = prefect.wait_at("plan")
    form = open_resume_form(page, prefect, run)
    assert "Plan: tune" in form.inner_text()
    assert "6 jobs" in form.inner_text()
    picture(page, "plan-gate")
    choose(page, form, "change")
    form.get_by_label("What to change").fill("Use learning rates 1e-4 and 3e-4 with beta 0.1.")
    form.get_by_role("button", name="Resume").click()

    first = run["state"]["state_details"]["pause_key"]
    run = prefect.wait_at("plan", but=first)
    form = open_resume_form(page, prefect, run)
    assert "2 jobs" in form.inner_text()
    picture(page, "changed-plan")
    choose(page, form, "approve")
    form.get_by_role("button", name="Resume").click()

    run = prefect.wait_at("comparison")
    form = open_resume_form(page, prefect, run)
    assert "base: " in form.inner_text()
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
    assert shown.locator("img").evaluate_all("images => images.map(i => i.naturalWidth > 0)") == [True] * 3
    picture(page, "final-report")
