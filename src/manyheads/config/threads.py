"""How threads wait, which decides more on shared cores than what they compute."""

import os


def calm_threads() -> None:
    """Before torch is imported: idle threads of libgomp spin otherwise, up to 27 times slower on shared cores."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
