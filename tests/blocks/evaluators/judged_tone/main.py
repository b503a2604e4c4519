"""The legacy decorated form with typed messages and no requirements said: the platform's image has the library."""

from eval_protocol import EvaluateResult, Message, reward_function

KIND = ("please", "thank", "glad", "happy to")


@reward_function(id="tone")
def tone(messages: list[Message], ground_truth: str | None = None, **kwargs) -> EvaluateResult:
    text = messages[-1].content.lower()
    found = [word for word in KIND if word in text]
    expected = ground_truth == "kind"
    return EvaluateResult(score=float(bool(found) == expected), reason=", ".join(found) or "no kind word")
