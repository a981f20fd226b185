"""Walks up and down that stay between two floors, drawn evenly from all of them."""

from random import Random


class Paths:
    """Walks from 0 to `end`, one step up or down at a time, never below 0 nor above `depth`."""

    def __init__(self, depth: int, end: int) -> None:
        self.depth = depth
        self._counts = [[int(height == end) for height in range(depth + 1)]]
        """How many walks lead to the end, by the steps that are left and the height."""

    def draw(self, length: int, dice: Random) -> list[bool]:
        """Whether each of `length` steps goes up; there has to be such a walk."""
        self._count(length)
        height, found = 0, []
        for left in range(length - 1, -1, -1):
            here = self._counts[left]
            above = here[height + 1] if height < self.depth else 0
            up = dice.randrange(above + (here[height - 1] if height else 0)) < above
            height += 1 if up else -1
            found.append(up)
        return found

    def _count(self, length: int) -> None:
        while len(self._counts) < length:
            last = [0, *self._counts[-1], 0]
            self._counts.append([last[height] + last[height + 2] for height in range(self.depth + 1)])
