import pytest

from blocks.calibration import machine_gflops, machine_memory_gb
from blocks.fireworks import FireworksPlatform


def test_a_machine_has_a_speed_and_a_memory():
    assert (machine_gflops(0.01) or 0) > 0
    assert 0.1 < machine_memory_gb() < 1e5


@pytest.mark.parametrize(
    ("address", "ours"),
    [("http://127.0.0.1:8787", True), ("http://localhost:1", True), ("https://api.fireworks.ai", False)],
)
def test_only_the_machine_that_we_run_on_is_measured(address, ours):
    platform = FireworksPlatform(base_url=address)
    assert (platform.measured_gflops() is not None, platform.memory_gb() is not None) == (ours, ours)
