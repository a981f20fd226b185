"""What the checks ask of a family of models: a small batch, and variants of it that must change nothing."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn

from manyheads.preflight.dice import Dice
from manyheads.preflight.trace import Held, Trace, trace


class Change(NamedTuple):
    """The batch with something else in it, what that is, and what must stay as it was."""

    what: str
    sample: Any
    held: Held


class Subject(ABC):
    """A model, a batch, and what the model makes of it: the yardstick of the checks.

    result: what to call that which the model makes.
    """

    result: str

    def __init__(self, model: nn.Module) -> None:
        self.model, self.dice = model, Dice(model)
        self.sample = self.draw()

    @abstractmethod
    def draw(self) -> Any:
        """A batch of rows of different lengths, where the family has them."""

    @abstractmethod
    def run(self, sample: Any) -> Tensor:
        """What is compared, (rows, n, …) where more than its layers is."""

    @abstractmethod
    def held(self, sample: Any) -> Held:
        """All that means something, in the order of the sample's rows."""

    @abstractmethod
    def future(self) -> Change | None:
        """Another future, and what comes before it; None where nothing is the future to the model."""

    @abstractmethod
    def unseen(self) -> Change:
        """Something else where nothing is."""

    @abstractmethod
    def alone(self) -> Iterator[tuple[Held, Any]]:
        """Each row: which part of the batch is its own, and the batch of it alone."""

    def lesson(self) -> Tensor:
        """What a training scores, as it makes it."""
        return self.run(self.sample)

    def loss(self) -> Tensor:
        """Any function that sees each number of it."""
        lesson = self.lesson()
        return (lesson * self.dice.numbers(*lesson.shape).to(lesson)).sum()

    def learns(self, name: str) -> bool:
        """Whether the parameter of this name must get a gradient."""
        return True

    @cached_property
    def trace(self) -> Trace:
        return self.traced(self.sample)

    def traced(self, sample: Any) -> Trace:
        return trace(self.model, lambda: self.run(sample), self.result)
