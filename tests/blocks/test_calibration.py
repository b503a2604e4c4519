import pytest

from blocks.calibration import machine_gflops, machine_memory_gb, multiplies_bfloat16
from blocks.fireworks import FireworksPlatform


def test_a_machine_has_a_speed_and_a_memory():
    assert (machine_gflops(0.01) or 0) > 0
    assert 0.1 < machine_memory_gb() < 1e5


def test_arithmetic_is_said_as_the_local_server_picks_it():
    torch = pytest.importorskip("torch", reason="the local server comes with the extra `local`")
    from local_server.training.warm import fast_dtype

    assert multiplies_bfloat16() in (None, fast_dtype("cpu") == torch.bfloat16)


@pytest.mark.parametrize(
    ("address", "ours"),
    [("http://127.0.0.1:8787", True), ("http://localhost:1", True), ("https://api.fireworks.ai", False)],
)
def test_only_the_machine_that_we_run_on_is_measured(address, ours):
    platform = FireworksPlatform(base_url=address)
    assert (platform.measured_gflops() is not None, platform.memory_gb() is not None) == (ours, ours)
