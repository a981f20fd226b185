"""`python scripts/doctor.py [overrides] [--json]`."""

import os
import sys
import time

from manyheads.config.arguments import guarded
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError

USAGE = """What is wrong with a run before it begins: machine, config, data, model, memory and speed.

usage: python scripts/doctor.py [GROUP=OPTION ...] [KEY=VALUE ...] [--json]

All overrides are those of train.py. --json prints one JSON object and nothing else.
The exit code is 0 where nothing is red, else 1. No run folder is made, and nothing is left behind.
"""


def main() -> None:
    """The command line."""
    sys.exit(doctor(sys.argv[1:]))


def doctor(argv: list[str]) -> int:
    """The exit code: 1 where something is red."""
    if {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    waits = os.environ.get("OMP_WAIT_POLICY")
    calm_threads()
    sick: list[bool] = []
    code = guarded(lambda: sick.append(_look([a for a in argv if a != "--json"], "--json" in argv, waits)))
    return code or int(any(sick))


def _look(overrides: list[str], as_json: bool, waits: str | None) -> bool:
    # Imported here: --help waits for no torch.
    from manyheads.doctor.checks import Findings
    from manyheads.doctor.look import look
    from manyheads.doctor.show import print_json, show

    begun = time.perf_counter()
    try:
        found = look(overrides, waits)
    except UserError as problem:
        if not as_json:
            raise
        found = Findings()
        found.add("config", "refused", "red", str(problem))
    if as_json:
        print_json(found, time.perf_counter() - begun)
    else:
        show(found)
    return found.sick
