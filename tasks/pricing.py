"""The platform's price book, with its times for the machine at hand."""

from __future__ import annotations

from prefect import task

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.cost import PriceBook

MACHINE = "machine.json"


@task(task_run_name="price-book")
def price_book(platform: FireworksPlatform, workspace: Workspace) -> PriceBook:
    """Measured once a session, so that one that goes on is not asked about another plan."""
    book = platform.get_price_book()
    if book.throughput.measured_gflops is None:
        return book
    kept = workspace.read_json(MACHINE)
    gflops = kept["gflops"] if kept else platform.measured_gflops()
    if gflops is None:
        return book
    workspace.write(MACHINE, {"gflops": gflops})
    return book.on_machine(gflops)
