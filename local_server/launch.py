"""`python launch.py PARENT COMMAND...`: become COMMAND, as a process that cannot outlive its parent.

A program of its own, since what must happen between fork and exec is not safe in a process with threads.
Run as a file and without site-packages: it takes about 20 ms.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = b"500"  # where memory runs out, the kernel takes a child before the server


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            with open("/proc/self/oom_score_adj", "wb") as file:
                file.write(_OOM_SCORE)
        except OSError:  # not allowed in some containers; the parent's own memory watch remains
            pass
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
