"""The data module as train.py uses it, on a few made-up pairs, on the embedded corpus, and on Multi30k where it is."""

import inspect
import logging
import os
from pathlib import Path

import datasets
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from manyheads.config.launch import register
from manyheads.data.base import TokenSpec
from manyheads.data.sources import read_tests
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP
from manyheads.data.translation import TranslationData
from manyheads.errors import UserError

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MANYHEADS_DATA", ROOT.parent / "shared" / "data"))
MULTI30K = SHARED / "translation" / "multi30k_en_de"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


def options(**changes):
    """conf/data/translation.yaml, with what other files of conf say put in by hand."""
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/translation.yaml").data, resolve=False)
    return {key: value for key, value in (values | {"seed": 1} | changes).items() if key != "_target_"}


def folder(tmp_path, count=40, long=()):
    for name, rows in (("train", count), ("val", 7), ("test", 5), ("test_b", 3)):
        for suffix, word in (("en", "dog"), ("de", "Hund")):
            texts = [
                f"{name} {word} {row}" + " and on" * (100 if name == "train" and row in long else row % 5)
                for row in range(rows)
            ]
            (tmp_path / f"{name}.{suffix}").write_text("\n".join(texts) + "\n")
    return str(tmp_path)


def made(tmp_path, cache, **changes):
    data = TranslationData(**options(path=folder(tmp_path), cache=cache, vocabulary=300, **changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_yaml_and_the_constructor_have_the_same_keys_and_only_the_yaml_has_values():
    parameters = inspect.signature(TranslationData).parameters
    assert set(options()) == set(parameters)
    assert all(parameter.default is parameter.empty for parameter in parameters.values())


def test_spec_names_and_texts_follow_the_files(tmp_path, cache):
    data = made(tmp_path, cache)
    size = data.tokenizer.source_size
    longest = max(
        len(ids)
        for name in ("train", "val", "test", "test_b")
        for ids in data.tokenizer.encode_target(data.texts(name)[1])
    )
    sizes = {"source_vocabulary": size, "target_vocabulary": size, "joint": True, "longest": longest}
    assert data.spec == TokenSpec(kind="translation", **sizes, pad=PAD, bos=BOS, eos=EOS, sep=SEP)
    assert data.test_names == ["test", "test_b"]
    assert data.texts("test_b")[1] == ["test_b Hund 0", "test_b Hund 1 and on", "test_b Hund 2 and on and on"]


def test_batches_hold_the_texts_at_their_index(tmp_path, cache):
    data = made(tmp_path, cache)
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    loaders |= dict(zip(data.test_names, data.test_dataloader(), strict=True))
    for name, loader in loaders.items():
        sources, targets = data.texts(name)
        seen = []
        for batch in loader:
            rows = batch.index.tolist()
            seen += rows
            assert data.tokenizer.decode_target(batch.target.tolist()) == [targets[row] for row in rows]
            assert data.tokenizer.encode_source([sources[row] for row in rows]) == [
                ids[:length].tolist() for ids, length in zip(batch.source, batch.source_lengths, strict=True)
            ]
        assert sorted(seen) == list(range(len(sources)))


def test_a_second_setup_changes_nothing(tmp_path, cache):
    data = made(tmp_path, cache)
    spec, rows = data.spec, data._rows["train"]
    data.prepare_data()
    data.setup("test")
    assert data.spec == spec
    assert data._rows["train"] is rows


def test_the_tokenizer_knows_the_training_texts_alone(tmp_path, cache):
    made(tmp_path, cache)
    (tmp_path / "test.en").write_text("zzz zzz\n" * 5)
    before = len(list(Path(cache, "tokenizers").iterdir()))
    data = TranslationData(**options(path=str(tmp_path), cache=cache, vocabulary=300))
    data.setup()
    assert len(list(Path(cache, "tokenizers").iterdir())) == before


def test_long_training_rows_are_named_or_left_out_and_others_kept(tmp_path, cache, caplog):
    changes = {"path": folder(tmp_path, long=(3, 17)), "cache": cache, "vocabulary": 300, "longest": 60}
    with pytest.raises(
        UserError, match=r"train\.\w\w:4: the \w+ has \d+ tokens, more than data\.longest=60 \(the first of 2"
    ):
        TranslationData(**options(**changes)).setup()
    (tmp_path / "val.en").write_text("val " + "on " * 300 + "\n" + "x\n" * 6)
    data = TranslationData(**options(**changes, on_bad_row="skip"))
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert "38 of 40 rows kept" in caplog.text
    assert len(data.texts("train")[0]) == 38
    assert sum(len(batch) for batch in data.train_dataloader()) == 38
    assert len(data.texts("val")[0]) == 7
    assert data.spec.longest > 60
    with pytest.raises(UserError, match=r"data\.longest=2 leaves no row"):
        TranslationData(**options(**changes | {"longest": 2}, on_bad_row="skip")).setup()


def test_a_row_over_the_budget_is_named_by_file_and_line(tmp_path, cache):
    data = TranslationData(
        **options(path=folder(tmp_path, long=(9,)), cache=cache, vocabulary=300, longest=999, batch_tokens=80)
    )
    data.setup()
    with pytest.raises(UserError, match=r"train\.en:10 alone is .*raise data\.batch_tokens"):
        data.train_dataloader()


def test_another_runs_tokenizer_is_used_for_other_files(tmp_path, cache):
    first = made(tmp_path, cache)
    first.save(tmp_path)
    other = TranslationData(**options(path="gone", cache="nowhere")).restore(tmp_path)
    rows = read_tests(str(tmp_path), "en", "de", "refuse")["test_b"]
    [batch] = other.loader_of(rows)
    assert sorted(first.tokenizer.decode_target(batch.target.tolist())) == sorted(first.texts("test_b")[1])
    assert not Path("nowhere").exists()


def test_one_table_a_side(tmp_path, cache):
    data = made(tmp_path, cache, joint=False)
    assert not data.spec.joint
    assert (data.spec.source_vocabulary, data.spec.target_vocabulary) == (
        data.tokenizer.source_size,
        data.tokenizer.target_size,
    )


def test_the_embedded_default_is_ready_without_a_file(cache):
    data = TranslationData(**options(cache=cache, pairs=600))
    data.prepare_data()
    data.setup()
    assert "test_compositional" in data.test_names
    assert data.spec.source_vocabulary <= 2000
    assert max(batch.cells for batch in data.train_dataloader()) <= 4096


@pytest.mark.parametrize("typed", [[], ["model=decoder_only"]])
def test_data_names_its_companions_and_the_command_line_wins(typed):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        choices = compose("train", ["data=translation", *typed], return_hydra_config=True).hydra.runtime.choices
    assert choices["model"] == ("decoder_only" if typed else "encoder_decoder")
    assert choices["task"] == "translation"


@pytest.mark.skipif(
    not MULTI30K.is_dir(), reason=f"Multi30k is not in {MULTI30K}; MANYHEADS_DATA names the folder of data"
)
def test_multi30k_is_read_whole_and_comes_back_as_it_was(cache):
    data = TranslationData(**options(path=str(MULTI30K), cache=cache, vocabulary=1000))
    data.prepare_data()
    data.setup()
    names = ["train", "val", *data.test_names]
    sizes = [29_000, 1_014, 1_000, 1_000, 461]
    assert names[2:] == ["test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"]
    assert [len(data.texts(name)[0]) for name in names] == sizes
    for name in names[1:]:
        targets = data.texts(name)[1]
        assert data.tokenizer.decode_target(data.tokenizer.encode_target(targets)) == targets
    loader = data.train_dataloader()
    assert sorted(row for rows in loader.sampler for row in rows) == list(range(29_000))
    assert loader.sampler.padding < 0.08
