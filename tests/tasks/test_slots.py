import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.slots import Slots, Stopped


def peak_of(slots: Slots, names: list[str], work: Callable[[], None]) -> int:
    """The most that held a slot at once."""
    lock, now, peak = threading.Lock(), 0, 0

    def run(name: str) -> None:
        nonlocal now, peak
        with slots.hold(name):
            with lock:
                now += 1
                peak = max(peak, now)
            work()
            with lock:
                now -= 1

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(run, names))
    return peak


def test_never_more_than_the_limit_and_all_of_it_used():
    meeting = threading.Barrier(6)

    def work() -> None:
        meeting.wait(10)  # six are in here at once, or this breaks

    assert peak_of(Slots(6), [f"t{n}" for n in range(1, 13)], work) == 6


def test_a_job_that_an_earlier_process_left_running_holds_its_slot():
    slots = Slots(1, running=["t2"])
    entered = threading.Event()

    def newcomer() -> None:
        with slots.hold("t1"):
            entered.set()

    thread = threading.Thread(target=newcomer)
    thread.start()
    assert not entered.wait(0.2)
    with slots.hold("t2"):  # found again: does not wait
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()


def test_stopping_wakes_those_who_wait_and_those_who_sleep():
    slots, ended = Slots(1), []

    def wait_for_a_slot() -> None:
        with pytest.raises(Stopped, match="t2 was not started"), slots.hold("t2"):
            pass
        ended.append("t2")

    def sleep() -> None:
        with pytest.raises(Stopped):
            slots.sleep(60)
        ended.append("sleeper")

    with slots.hold("t1"):
        threads = [threading.Thread(target=wait_for_a_slot), threading.Thread(target=sleep)]
        for thread in threads:
            thread.start()
        slots.stop()
        for thread in threads:
            thread.join(10)
    assert sorted(ended) == ["sleeper", "t2"]


def test_of_those_that_wait_the_first_in_the_order_goes_first():
    slots, entered = Slots(1, order=["t3", "t1", "t2"]), []

    def run(name: str) -> None:
        with slots.hold(name):
            entered.append(name)

    with slots.hold("t0"):
        threads = [threading.Thread(target=run, args=(name,)) for name in ("t1", "t2", "t3")]
        for thread in threads:
            thread.start()
        while len(slots._waiting) < 3:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert entered == ["t3", "t1", "t2"]


def test_who_is_expected_keeps_its_turn_though_another_asks_first():
    slots = Slots(1, order=["t1", "t2"], expected=["t1", "t2"])
    entered: list[str] = []
    may_ask = threading.Event()

    def work(name: str) -> None:
        if name == "t1":
            assert may_ask.wait(30)
        with slots.hold(name):
            entered.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("t2", "t1")]
    for thread in threads:
        thread.start()
    threads[0].join(0.3)
    assert entered == []  # t2 has asked, and t1 has not yet
    may_ask.set()
    for thread in threads:
        thread.join(30)
    assert entered == ["t1", "t2"]


def test_who_never_comes_is_not_waited_for_endlessly(monkeypatch):
    monkeypatch.setattr("tasks.slots.ARRIVAL_S", 0.2)
    slots = Slots(1, order=["t1", "t2"], expected=["t1", "t2"])
    with slots.hold("t2"):
        pass
