"""A helper in the same package, with a data file beside it."""

from pathlib import Path

FILLER = frozenset(Path(__file__).with_name("data").joinpath("filler.txt").read_text().split())


def share_of_filler(text: str) -> float:
    words = [word.strip(".,;:!?").lower() for word in text.split()]
    return sum(word in FILLER for word in words) / len(words) if words else 0.0
