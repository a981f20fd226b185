"""The data module as train.py uses it: files, generated stories, several ranks, an epoch stopped in the middle."""

import functools
import inspect
import itertools
import logging
import operator
import types
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from manyheads.config.launch import register
from manyheads.data.language_model import LanguageModelData
from manyheads.data.stream import store as store_module
from manyheads.errors import UserError

ROOT = Path(__file__).parents[2]


def options(**changes):
    """conf/data/language_model.yaml, with what other files of conf say put in by hand."""
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/language_model.yaml").data, resolve=False)
    small = {
        "seed": 1,
        "vocabulary": 300,
        "length": 16,
        "context": 4,
        "batch_tokens": 64,
        "evaluation_batch_tokens": 48,
    }
    return {key: value for key, value in (values | small | changes).items() if key != "_target_"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    for name, count in (("train", 60), ("val", 9), ("test", 7), ("test_b", 4)):
        told = [f"{name} document {n}" + " and on" * (n % 7) for n in range(count)]
        (place / f"{name}.txt").write_text("\n\n".join(told))
    return str(place)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def made(folder, cache, **changes):
    data = LanguageModelData(**options(path=folder, separator="\n\n", cache=cache, **changes))
    data.prepare_data()
    data.setup("fit")
    return data


def pairs(batches):
    """Every counted (id, next id), in any order."""
    return sorted(
        pair
        for batch in batches
        for pair in zip(batch.ids[batch.counted].tolist(), batch.targets[batch.counted].tolist(), strict=True)
    )


def neighbours(store):
    """The same from the documents themselves."""
    documents = [store.document(n).tolist() for n in range(len(store))]
    return sorted(pair for ids in documents for pair in itertools.pairwise(ids))


def test_the_yaml_and_the_constructor_have_the_same_keys_and_only_the_yaml_has_values():
    parameters = inspect.signature(LanguageModelData).parameters
    assert set(options()) == set(parameters)
    assert all(parameter.default is parameter.empty for parameter in parameters.values())


def test_every_split_is_read_once_in_an_epoch(folder, cache):
    data = made(folder, cache)
    assert data.test_names == ["test", "test_b"]
    assert pairs(data.train_dataloader()) == neighbours(data.store("train"))
    assert pairs(data.val_dataloader()) == neighbours(data.store("val"))
    for name, loader in zip(data.test_names, data.test_dataloader(), strict=True):
        assert pairs(loader) == neighbours(data.store(name))
    assert data.store("train").ends[-1] == len(data.store("train").tokens)
    assert data.store("none") is None


def test_a_separator_may_be_typed_on_a_command_line(folder, cache):
    typed = LanguageModelData(**options(path=folder, separator="\\n\\n", cache=cache))
    typed.setup()
    assert len(typed.store("train")) == 60


def test_batches_keep_to_their_budgets(folder, cache):
    data = made(folder, cache)
    assert max(batch.cells for batch in data.train_dataloader()) <= 64
    assert max(batch.cells for batch in data.val_dataloader()) <= 48
    assert data.spec.longest == 16
    assert all(batch.ids.max() < data.spec.target_vocabulary for batch in data.train_dataloader())


def test_training_counts_everything_that_it_reads_and_shuffles(folder, cache):
    loader = made(folder, cache).train_dataloader()
    first, second = ([batch.index.tolist() for batch in loader] for _ in range(2))
    assert first != second
    assert sorted(functools.reduce(operator.iadd, first, [])) == sorted(functools.reduce(operator.iadd, second, []))
    assert all((batch.counted == (batch.documents >= 0)).all() for batch in loader)


@pytest.mark.parametrize("context", [None, 4])
def test_ranks_share_every_row_of_a_test(context, folder, cache):
    found = []
    for rank in range(3):
        data = made(folder, cache, context=context)
        data.trainer = types.SimpleNamespace(global_rank=rank, world_size=3)
        found += pairs(data.test_dataloader()[0])
    assert sorted(found) == neighbours(data.store("test"))


def test_a_stopped_epoch_goes_on_with_the_next_batch(folder, cache):
    whole = [batch.ids.tolist() for batch in made(folder, cache).train_dataloader()]
    loader = made(folder, cache).train_dataloader()
    batches = iter(loader)
    begun = [next(batches).ids.tolist() for _ in range(4)]
    resumed = made(folder, cache).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert begun + [batch.ids.tolist() for batch in resumed] == whole


def test_overfitting_has_the_same_batches_in_every_epoch(folder, cache):
    data = made(folder, cache)
    data.trainer = types.SimpleNamespace(overfit_batches=1, global_rank=0, world_size=1)
    loader = data.train_dataloader()
    first, second = ([batch.index.tolist() for batch in loader] for _ in range(2))
    assert first == second


def test_nothing_is_read_anew_when_unrelated_keys_change(folder, cache, monkeypatch):
    wanted = made(folder, cache).store("train").tokens.tolist()

    def refuse(*anything):
        raise AssertionError("tokenised anew")

    monkeypatch.setattr(store_module, "_write", refuse)
    data = made(folder, cache, length=32, context=None, batch_tokens=128, seed=5)
    assert data.store("train").tokens.tolist() == wanted
    assert data.spec.longest == 32


def test_a_finished_runs_tokenizer_reads_other_texts(folder, cache, tmp_path):
    first = made(folder, cache)
    first.save(tmp_path)
    (tmp_path / "new.txt").write_text("words that nobody met: é\n")
    other = LanguageModelData(**options(path="gone", cache=cache)).restore(tmp_path)
    alone = other.tests_alone(str(tmp_path / "new.txt"))
    assert alone.test_names == ["test"]
    [loader] = alone.test_dataloader()
    assert pairs(loader) == neighbours(alone.store("test"))
    assert alone.tokenizer.decode_document(alone.store("test").document(0)) == "words that nobody met: é\n"
    assert alone.store("train") is None


def test_restored_data_keeps_its_tokenizer(folder, cache, tmp_path):
    made(folder, cache).save(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("zzz yyy xxx " * 200)
    data = LanguageModelData(**options(path=str(tmp_path / "texts"), cache=cache)).restore(tmp_path)
    data.setup()
    assert data.tokenizer.digest == made(folder, cache).tokenizer.digest


def test_generated_stories_need_no_file(cache):
    data = LanguageModelData(
        **options(cache=cache, stories=40, length=64, batch_tokens=640, evaluation_batch_tokens=640)
    )
    data.prepare_data()
    data.setup()
    assert [len(data.store(name)) for name in ("train", "val", "test")] == [36, 2, 2]
    assert "keeps a" in data.tokenizer.decode_document(data.store("val").document(0))


def test_the_time_to_the_first_batch_is_said_once(folder, cache, caplog):
    data = made(folder, cache)
    data.trainer = types.SimpleNamespace(training=True)
    batch = data.rows(data.store("train"), 0)[[0]]
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert data.on_before_batch_transfer(batch, 0) is batch
    assert len([line for line in caplog.messages if line.startswith("first batch after")]) == 1


def test_a_split_without_documents_is_refused(tmp_path, cache):
    (tmp_path / "train.txt").write_text("one\n\ntwo")
    with pytest.raises(UserError, match=r"leaves no document for val and test; bring more"):
        made(str(tmp_path), cache)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"length": 1}, r"data\.length=1 is no length"),
        ({"context": -1}, r"data\.context=-1"),
        ({"context": 16}, r"data\.context=16 leaves nothing to count"),
        ({"batch_tokens": 15}, r"have to hold a row of data\.length=16"),
        ({"learn_from": 0}, r"data\.learn_from=0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes, said, cache):
    with pytest.raises(UserError, match=said):
        LanguageModelData(**options(cache=cache, **changes))


def test_data_names_its_companions():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        choices = compose("train", ["data=language_model"], return_hydra_config=True).hydra.runtime.choices
    assert (choices["model"], choices["task"]) == ("decoder_only", "language_model")
