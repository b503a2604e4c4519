"""The statistics of judging: pure functions on arrays over prompts, one number a prompt, NaN where unread.

One prompt, judged in both orders or scored twice: verdict_score, scores_to_outcomes.
How often it wins, how well it scores, by how much it is better: win_rate, mean_score, paired_difference.
Whether it would still win at equal length: length_controlled_win_rate.
Whether judging may stop: confidence_sequence, prompts_until_above.
Several candidates: holm, bradley_terry.
How many prompts it takes, how wide the interval will be: required_prompts, expected_half_width.
"""

from preference.length_control import length_controlled_win_rate
from preference.power import expected_half_width, required_prompts
from preference.ranking import bradley_terry, holm
from preference.rates import (
    Difference,
    MeanScore,
    Verdict,
    WinRate,
    mean_score,
    paired_difference,
    scores_to_outcomes,
    verdict_score,
    wilson_interval,
    win_rate,
)
from preference.sequential import confidence_sequence, prompts_until_above

__all__ = [
    "Difference",
    "MeanScore",
    "Verdict",
    "WinRate",
    "bradley_terry",
    "confidence_sequence",
    "expected_half_width",
    "holm",
    "length_controlled_win_rate",
    "mean_score",
    "paired_difference",
    "prompts_until_above",
    "required_prompts",
    "scores_to_outcomes",
    "verdict_score",
    "wilson_interval",
    "win_rate",
]
