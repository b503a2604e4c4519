"""How fast this machine is, by a short measurement, for the times that a plan says of a server on it."""

from __future__ import annotations

import time

import numpy as np

SIZE = 512  # rows and columns: a matrix of a megabyte, as a small model's are
SECONDS = 0.3


def machine_gflops(seconds: float = SECONDS) -> float:
    """Billions of float32 operations a second in a matrix product on all cores: the best of many.

    The best, since what else runs now may have ended when the work begins. A GPU is not looked at.
    """
    matrices = np.random.default_rng(0).random((2, SIZE, SIZE), dtype=np.float32)
    best_s, deadline = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        begun = time.perf_counter()
        matrices[0] @ matrices[1]
        best_s = min(best_s, time.perf_counter() - begun)
    return 2 * SIZE**3 / best_s / 1e9
