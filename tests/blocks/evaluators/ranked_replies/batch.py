"""reward-kit's batch form: all rollouts at once, one result each; the longest answer of the batch is its scale."""


def rank(rollouts_messages, ground_truth=None, **kwargs):
    lengths = [len(messages[-1]["content"]) for messages in rollouts_messages]
    scale = max(lengths) or 1
    return [{"score": length / scale, "reason": f"{length} of {scale} characters"} for length in lengths]
