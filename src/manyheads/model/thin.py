"""Words left out of documents while a model trains."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from manyheads.model.pool import real


class Thin(nn.Module):
    """Ids and lengths of chunks as a body reads them: while it trains, without a `share` of each document's words.

    special: ids that stay.
    """

    def __init__(self, tokens: int, share: float, special: tuple[int, ...]) -> None:
        super().__init__()
        self.tokens, self.share, self.special = tokens, share, special

    def forward(self, batch: Any) -> tuple[Int[Tensor, "c n"], Int[Tensor, "c"]]:
        """batch: as `model.documents.Chunks`."""
        if not (self.training and self.share):
            return batch.ids, batch.lengths
        kept = draw(len(batch.index), self.tokens, self.share, self.special, batch.ids.device)
        return thinned(batch.ids, batch.lengths, batch.document, kept)


def thinned(
    ids: Int[Tensor, "c n"],
    lengths: Int[Tensor, "c"],
    document: Int[Tensor, "c"],
    kept: Bool[Tensor, "b tokens"],
) -> tuple[Int[Tensor, "c m"], Int[Tensor, "c"]]:
    """The same chunks without the tokens that `kept` has False for in their document; the rest closes up."""
    stays = real(ids, lengths) & kept[document.unsqueeze(1), ids]
    order = (~stays).to(torch.uint8).argsort(dim=1, stable=True)
    lengths = stays.sum(1)
    return ids.gather(1, order)[:, : int(lengths.max())], lengths


def draw(
    documents: int, tokens: int, share: float, special: tuple[int, ...], device: torch.device
) -> Bool[Tensor, "b tokens"]:
    """Which tokens each document keeps (documents, tokens): all but a `share`, and the special ones always.

    Whole types are dropped (Gal and Ghahramani 2016, arXiv:1512.05287, section 4.2), and out of the row (Iyyer et al.
    2015, P15-1162). One occurrence alone would be no loss, as the others say the same.
    """
    kept = torch.rand(documents, tokens, device=device) >= share
    kept[:, list(special)] = True
    return kept
