"""What a person reads when training fails: the reason, and what to do."""

from __future__ import annotations

import errno

from pydantic import ValidationError

from local_server.training.job import TrainingFault


def message_for(error: BaseException) -> str:
    """One or two sentences; the traceback is in the job's log."""
    text = str(error)
    if isinstance(error, TrainingFault):
        return text
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"the job's {'.'.join(map(str, first['loc']))} is not valid: {first['msg']}."
    if is_out_of_memory(error):
        return (
            "training ran out of memory. Lower batchSizeSamples or maxContextLength, drop the longest "
            "pairs, or tune "
            f"a smaller base model. ({text.splitlines()[0][:200] if text else type(error).__name__})"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space is left on the disk of the server's folder. Free some, then resume the job."
    return f"training stopped with {type(error).__name__}: {text[:500]}. The job's log has the whole story."


def is_out_of_memory(error: BaseException) -> bool:
    """torch says it in several ways: a class on a GPU, a bare RuntimeError on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
