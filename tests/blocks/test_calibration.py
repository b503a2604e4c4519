import pytest

from blocks.calibration import machine_gflops
from blocks.fireworks import FireworksPlatform


def test_a_machine_has_a_speed():
    assert machine_gflops(0.01) > 0


@pytest.mark.parametrize(
    ("address", "ours"),
    [("http://127.0.0.1:8787", True), ("http://localhost:1", True), ("https://api.fireworks.ai", False)],
)
def test_only_the_machine_that_we_run_on_is_measured(address, ours):
    assert (FireworksPlatform(base_url=address).measured_gflops() is not None) == ours
