"""What runs that ended tell together: which attention to take, for what cost, and how sure that is.

Reads the folders of runs and nothing else.
"""

from manyheads.report.write import report

__all__ = ["report"]
