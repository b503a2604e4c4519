"""What a user does in Prefect's UI, step by step.

PREFWORKS_SCREENSHOTS names a folder to keep pictures in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("PREFWORKS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1500)  # animations
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_run_form(page: Page, prefect: Any) -> None:
    deployment = prefect.deployment("preference-learning")
    page.goto(f"{prefect.root}/v2/deployments/deployment/{deployment['id']}/run")
    page.get_by_label("Dataset").first.wait_for()


def open_menu(page: Page, prefect: Any, run: dict[str, Any], item: str) -> None:
    """An entry of the three-dot menu at the top right of a run's page."""
    page.goto(f"{prefect.root}/v2/runs/flow-run/{run['id']}")
    page.locator("button:has(svg.lucide-ellipsis-vertical), button:has(svg.lucide-more-vertical)").first.click()
    page.get_by_role("menuitem", name=item).click()


def cancel(page: Page, prefect: Any, run: dict[str, Any]) -> None:
    open_menu(page, prefect, run, "Cancel")
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel Flow Run").click()


def retry(page: Page, prefect: Any, run: dict[str, Any]) -> None:
    open_menu(page, prefect, run, "Retry")
    page.get_by_role("alertdialog").get_by_role("button", name="Retry").click()


def open_resume_form(page: Page, prefect: Any, run: dict[str, Any]) -> Locator:
    open_menu(page, prefect, run, "Resume")
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Select").first.wait_for()
    return form


def choose(page: Page, form: Locator, decision: str) -> None:
    form.get_by_role("button", name="Select").first.click()
    page.get_by_role("option", name=decision).click()
