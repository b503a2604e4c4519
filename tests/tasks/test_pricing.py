import pytest

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from tasks.pricing import MACHINE, price_book


def test_a_local_book_s_times_go_with_the_machine_and_are_measured_once(tmp_path):
    platform = FireworksPlatform(base_url="http://127.0.0.1:1", price_book="local")
    plain = platform.get_price_book().throughput
    workspace = Workspace("1779157376-41e1", tmp_path)
    workspace.write(MACHINE, {"gflops": plain.measured_gflops / 2, "bfloat16": True})
    found = price_book.fn(platform, workspace)
    assert found.throughput.training_tokens_per_s == plain.training_tokens_per_s / 2
    assert "0.50 × as fast" in found.assumptions[-1]
    assert found.memory.machine_gb > 0
    assert price_book.fn(platform, workspace) == found
    workspace.path(MACHINE).unlink()
    assert price_book.fn(platform, workspace) == price_book.fn(platform, workspace)


def test_where_a_processor_does_not_multiply_bfloat16_times_and_memory_are_those_of_float32(tmp_path):
    platform = FireworksPlatform(base_url="http://127.0.0.1:1", price_book="local")
    plain = platform.get_price_book()
    workspace = Workspace("1779157376-41e1", tmp_path)
    found = {}
    for bfloat16 in (True, False, None):
        workspace.write(MACHINE, {"gflops": plain.float32.measured_gflops, "bfloat16": bfloat16})
        found[bfloat16] = price_book.fn(platform, workspace)
    assert found[False].throughput.training_tokens_per_s == plain.float32.training_tokens_per_s
    assert found[False].memory.gb_per_billion_parameters == 2 * plain.memory.gb_per_billion_parameters
    assert "does not multiply bfloat16" in found[False].assumptions[-2]
    assert found[True] == found[None]
    assert found[True].throughput.training_tokens_per_s > found[False].throughput.training_tokens_per_s


def test_the_cloud_s_book_is_taken_as_it_is(tmp_path):
    platform = FireworksPlatform(base_url="https://api.fireworks.ai")
    workspace = Workspace("1779157376-41e1", tmp_path)
    assert price_book.fn(platform, workspace) == platform.get_price_book()
    assert not (workspace.folder / MACHINE).exists()


def test_time_goes_with_the_model_s_size():
    speed = FireworksPlatform(base_url="http://127.0.0.1:1", price_book="local").get_price_book().throughput
    assert speed.seconds_for_size(134_515_008) == 1
    assert speed.seconds_for_size(10 * 134_515_008) == pytest.approx(10)
    assert (speed.seconds_for_size(None), speed.seconds_for_size(1)) == (1, 0.1)
