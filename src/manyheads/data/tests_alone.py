"""Test sets that a run never saw, read with its tokenizer."""

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from manyheads.data.sources import read_tests
from manyheads.data.translation import TranslationData


class TestsAlone(LightningDataModule):
    """The test sets of `path`, in the form in which `data` reads its own; a UserError where there are none."""

    def __init__(self, data: TranslationData, path: str) -> None:
        super().__init__()
        origin = data.origin
        self.data, self.tokenizer = data, data.tokenizer
        self._sets = read_tests(path, origin.source, origin.target, origin.on_bad_row)

    @property
    def test_names(self) -> list[str]:
        """Test sets, in the order of `test_dataloader`."""
        return list(self._sets)

    def test_dataloader(self) -> list[DataLoader]:
        return [self.data.loader_of(texts) for texts in self._sets.values()]

    def texts(self, name: str) -> tuple[list[str], list[str]]:
        """Sources and targets as they were read."""
        return list(self._sets[name]["source"]), list(self._sets[name]["target"])
