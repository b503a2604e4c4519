"""The platform's price book, with its times and its memory for the machine at hand."""

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
    kept = workspace.read_json(MACHINE) or {}
    if book.float32 is not None:
        if "bfloat16" not in kept:
            kept["bfloat16"] = platform.multiplies_bfloat16()
        if kept["bfloat16"] is False:
            book = book.in_float32()
    if book.throughput.measured_gflops is not None:
        gflops = kept.get("gflops") or platform.measured_gflops()
        if gflops is not None:
            kept["gflops"] = gflops
            book = book.on_machine(gflops)
    if book.memory is not None:
        memory_gb = kept.get("memory_gb") or platform.memory_gb()
        if memory_gb is not None:
            kept["memory_gb"] = memory_gb
            book = book.with_memory(memory_gb)
    if kept:
        workspace.write(MACHINE, kept)
    return book
