"""A job of a sweep, and a rank of a run, ends with the process that started it, however that one ends."""

import os
import signal
import sys

PARENT = "MANYHEADS_PARENT"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def follow_parent() -> None:
    """Asks Linux for a signal when the parent named by the environment is gone: SIGTERM, at which a run saves itself;
    for a rank SIGKILL, since rank 0 alone saves, and who waits for it hears nothing else.

    Without it the jobs of a sweep that was killed by SIGKILL would train on unseen, in folders that are wanted again.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    import ctypes

    number = signal.SIGKILL if "LOCAL_RANK" in os.environ else signal.SIGTERM
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != int(parent):  # it was gone before this could be asked
        raise SystemExit(128 + signal.SIGTERM)
