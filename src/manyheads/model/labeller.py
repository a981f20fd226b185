"""Words of a formal language, every prefix labelled: by any body, since a state per symbol is all it takes."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.data.base import WordSpec
from manyheads.model.head import Head
from manyheads.model.init import start_weights
from manyheads.model.layers import Factory
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, Shape


class Labeller(nn.Module):
    """A body and a score for each label; `shape` is a factory of one.

    encoder_only sees what comes behind a prefix too, which has nothing to do with its label; decoder_only sees the
    prefix alone; of encoder_decoder the decoder reads the word once more, beside all that the encoder has read of it.
    """

    body: Shape

    def __init__(self, shape: Factory, spec: WordSpec) -> None:
        super().__init__()
        self.body = shape(spec=spec)
        self.head = Head(self.body.dim, len(spec.labels), None)
        self.start()

    def start(self) -> None:
        """Draws all weights anew."""
        start_weights(self)

    def forward(self, tokens: Int[Tensor, "b n"], lengths: Int[Tensor, "b"]) -> Float[Tensor, "b n dim"]:
        """States of all prefixes, of which `head` makes scores; those behind a row's length mean nothing."""
        if isinstance(self.body, DecoderOnly):
            return self.body(tokens)
        more: tuple[Any, ...] = (tokens,) if isinstance(self.body, EncoderDecoder) else ()
        return self.body(tokens, lengths, *more)
