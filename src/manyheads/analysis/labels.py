"""What stands at the edges of a map: words, times of patches, or numbers."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from manyheads.analysis.capture import Read
from manyheads.data.base import DataSpec, SeriesSpec
from manyheads.model.ways import Stepwise


class Labels:
    """Texts for the queries and keys of a read, of a model of data with this `spec`.

    data: what has a tokenizer, or `pieces` itself where its tokens are symbols; or neither. A word's first piece begins
    with a space, as the tokenizer has it; a patch is named by its first step, t being the last one of the history.
    """

    def __init__(self, model: nn.Module, spec: DataSpec, data: Any) -> None:
        self.spec = spec
        self.tokenizer = getattr(data, "tokenizer", None) or (data if hasattr(data, "pieces") else None)
        self.stepwise = isinstance(getattr(model, "way", None), Stepwise)

    def on_axes(self, read: Read) -> tuple[list[str], list[str]]:
        """The same, as short as an axis wants them."""
        texts = zip((read.query_ids, read.key_ids), self(read), strict=True)
        return tuple(found if ids is None else [plain(piece) for piece in found] for ids, found in texts)

    def __call__(self, read: Read) -> tuple[list[str], list[str]]:
        stack = read.name.partition(".")[0]
        keys = "encoder" if read.across else stack
        return self._of(read.query_ids, stack, read.q.size(2)), self._of(read.key_ids, keys, read.k.size(2))

    def _of(self, ids: Int[Tensor, "n"] | None, stack: str, count: int) -> list[str]:
        if ids is not None and self.tokenizer is not None:
            return self._pieces(stack)(ids.tolist())
        if isinstance(self.spec, SeriesSpec) and stack in ("encoder", "decoder"):
            return [_time(step) for step in self._steps(stack, count)]
        return [str(number) for number in range(count)]

    def _pieces(self, stack: str) -> Callable[[list[int]], list[str]]:
        side = "source_pieces" if stack == "encoder" else "target_pieces"
        return getattr(self.tokenizer, side, None) or self.tokenizer.pieces

    def _steps(self, stack: str, count: int) -> range:
        """The first step of each patch, counted from the last one of the history; see `model.ways`."""
        spec = self.spec
        if self.stepwise:
            first = -(spec.history + -spec.history % spec.patch)
            return range(first + 1, first + 1 + count * spec.patch, spec.patch)
        if stack == "decoder":
            return range(1, 1 + count * spec.patch, spec.patch)
        return range(1 - spec.history, 1 - spec.history + count * spec.stride, spec.stride)


def _time(step: int) -> str:
    return f"t{step:+d}".replace("-", "−") if step else "t"


def plain(piece: str) -> str:
    """A piece of text for an axis: without its space, and · before what goes on with a word."""
    text = piece.strip(" ").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "⏎") or "␣"
    return f"·{text}" if piece[:1].isalnum() else text
