"""What a number of prompts can show, for the plan: before anything is judged."""

from __future__ import annotations

import math

from scipy.stats import norm

from preference.rates import check_share

SPREAD = 0.41  # of scores between prompts: 0.38 to 0.42 in AlpacaEval 2's files for rates of 50 to 70 %


def required_prompts(rate: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Prompts that show, with chance `power`, that a true win rate of `rate` is not 0.5.

    Normal approximation of the one-sided test of a proportion at level alpha, without ties (which save some):
    0.55 takes 617, 0.6 153, 0.65 67, 0.7 37. Never fewer than it takes if all are won. A rate under 0.5 counts
    as its mirror, losing. 0.5 itself takes endlessly many: ValueError.
    """
    check_share(power, "power", 0.8)
    check_share(alpha, "alpha", 0.05)
    if not 0 <= rate <= 1 or rate == 0.5:
        raise ValueError(f"a rate in [0, 1] but not 0.5 is wanted, since no number shows a tie; found {rate}.")
    reach = float(norm.ppf(1 - alpha)) * 0.5 + float(norm.ppf(power)) * math.sqrt(rate * (1 - rate))
    fewest = math.ceil(math.log(alpha) / math.log(0.5))  # the sign test on wins alone
    return max(fewest, math.ceil((reach / (rate - 0.5)) ** 2))


def expected_half_width(n: int, *, spread: float = SPREAD, confidence: float = 0.95) -> float:
    """Half the width that win_rate's interval will have with n prompts; NaN for n = 0.

    From the spread between prompts: 0.114 at 50, 0.080 at 100, 0.057 at 200. Up to 50 expect a tenth more.
    """
    if n < 0:
        raise ValueError(f"the number of prompts cannot be negative; found {n}.")
    if n == 0 or math.isnan(n):
        return float("nan")
    return min(0.5, float(norm.ppf((1 + confidence) / 2)) * spread / math.sqrt(n))
