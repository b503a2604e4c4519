from __future__ import annotations

import pytest

from preference.bases import CHAMPION
from preference.comparison import UNSCORED_CHAMPION, beats_champion, compare_halves
from preference.comparison_page import comparison_markdown, headline_text
from preference.standings import Contestant, ScoredAnswer

CONTESTANTS = [
    Contestant(name="base", label="untouched", model="m"),
    Contestant(name=CHAMPION, label="the one in service", model="c"),
    Contestant(name="t1", label="first", model="t1"),
]


def answers(name: str, scores: list[float | None]) -> list[ScoredAnswer]:
    return [
        ScoredAnswer(prompt_id=str(i), prompt="p", text=f"{name} on {i}", score=score) for i, score in enumerate(scores)
    ]


def compared(champion: float | None, tuned: float, confirmed: tuple[float, float] | None = None, n: int = 20):
    """t1 and the champion at these scores on both halves, or at the confirmed ones on the second; the base at 0.1."""
    asked: dict[str, list[str]] = {}

    def given(contestants, part):
        asked[part] = [c.name for c in contestants]
        ours, theirs = confirmed if part == "confirmation" and confirmed else (tuned, champion)
        at = {"base": 0.1, CHAMPION: theirs, "t1": ours}
        return {
            c.name: answers(c.name, [None if at[c.name] is None else at[c.name] + i % 3 / 100 for i in range(n)])
            for c in contestants
        }

    return compare_halves(CONTESTANTS, given, has_confirmation=True), asked


def test_a_winner_beats_its_base_and_the_champion_on_the_same_prompts():
    found, asked = compared(champion=0.5, tuned=0.8)
    assert (found.proposed, found.clear) == ("t1", True)
    assert [s.contestant.name for s in found.candidates] == ["t1"]
    assert found.champion is not None
    assert found.champion.score.value == pytest.approx(0.51, abs=0.01)
    assert asked["confirmation"] == ["base", CHAMPION, "t1"]
    assert found.headline is not None
    assert "against the champion +0.30 [" in headline_text(found.headline)
    assert "|  | champion: the one in service | 0.51" in comparison_markdown(found)


@pytest.mark.parametrize("champion", [0.8, 0.9])
def test_what_does_not_beat_the_champion_is_no_clear_winner(champion):
    found, _ = compared(champion=champion, tuned=0.8)
    assert (found.proposed, found.clear) == ("t1", False)
    assert any("t1 is not clearly better than champion" in reason for reason in found.reasons)
    assert not beats_champion(found, "t1")


def test_a_champion_is_never_proposed():
    found, _ = compared(champion=0.9, tuned=0.1)
    assert found.proposed == "t1"
    assert not found.clear


def test_a_champion_that_could_not_be_scored_was_beaten_by_nobody():
    found, _ = compared(champion=None, tuned=0.8)
    assert not found.clear
    assert UNSCORED_CHAMPION in found.reasons
    assert not beats_champion(found, "t1")


def test_a_lead_over_the_champion_that_is_not_confirmed_does_not_count():
    found, _ = compared(champion=0.5, tuned=0.8, confirmed=(0.5, 0.7))
    assert not found.clear
    assert found.reasons[0].startswith("t1 does not beat the champion on the prompts of the headline: -0.20 [")
