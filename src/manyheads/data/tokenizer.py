"""Byte-level BPE: any text in, the very same text out, and no unknown token.

A space is put before every text and taken off again after decoding. So `hello` is one token at a sentence's beginning
and inside it, and a text that begins with spaces of its own still comes back as it was.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from manyheads import atomic
from manyheads.data.base import TokenSpec
from manyheads.errors import UserError

log = logging.getLogger(__name__)

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>", "<sep>")
PAD, BOS, EOS, UNK, SEP = range(len(SPECIALS))
SMALLEST = len(SPECIALS) + 256  # every byte is a token, which is why nothing is unknown
SEEN_TWICE = 2  # a merge seen once is a piece of one sentence, which no other sentence can use
CHUNK = 10_000  # texts encoded at once: enough to keep all threads busy, little enough to hold in memory


class PairTokenizer:
    """One table for both sides (`joint`) or one for each; `lowercase` ones do not give capital letters back.

    Source ids: tokens, eos. Target ids: bos, tokens, eos.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer, lowercase: bool):
        self._source, self._target, self.lowercase = source, target, lowercase
        for table in (source, target):  # not part of a table's own file: `<eos>` typed in a sentence is text
            table.encode_special_tokens = True

    @property
    def joint(self) -> bool:
        return self._source is self._target

    @property
    def source_size(self) -> int:
        return self._source.get_vocab_size()

    @property
    def target_size(self) -> int:
        return self._target.get_vocab_size()

    def spec(self, longest: int) -> TokenSpec:
        """What a model has to know; `longest`: tokens of the longest sequence, specials included."""
        sizes = {"source_vocabulary": self.source_size, "target_vocabulary": self.target_size, "joint": self.joint}
        return TokenSpec(kind="translation", longest=longest, pad=PAD, bos=BOS, eos=EOS, sep=SEP, **sizes)

    def encode_source(self, texts: list[str]) -> list[list[int]]:
        return [[*ids, EOS] for ids in _encode(self._source, texts)]

    def encode_target(self, texts: list[str]) -> list[list[int]]:
        return [[BOS, *ids, EOS] for ids in _encode(self._target, texts)]

    def decode_target(self, ids: list[list[int]]) -> list[str]:
        """Texts without special tokens. Bytes that are no UTF-8, as a model may write them, become U+FFFD."""
        return [text.removeprefix(" ") for text in self._target.decode_batch(ids, skip_special_tokens=True)]

    def source_pieces(self, ids: Iterable[int]) -> list[str]:
        """See `pieces`."""
        return pieces(self._source, ids)

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        """See `pieces`."""
        return pieces(self._target, ids)

    def save(self, path: str | Path) -> None:
        """One JSON file, whole or not at all."""
        tables = {"both": self._source} if self.joint else {"source": self._source, "target": self._target}
        content = {"joint": self.joint, "lowercase": self.lowercase}
        content |= {name: json.loads(table.to_str()) for name, table in tables.items()}
        atomic.write_text(Path(path), json.dumps(content, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> "PairTokenizer":
        """Raises UserError where the file is missing, cut short or something else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            names = ("both",) if content["joint"] else ("source", "target")
            tables = [Tokenizer.from_str(json.dumps(content[name])) for name in names]
            return cls(tables[0], tables[-1], bool(content["lowercase"]))
        except FileNotFoundError as error:
            raise UserError(f"{path}: there is no such tokenizer file.") from error
        except Exception as error:  # `tokenizers` raises bare Exception for a table that it does not understand
            raise UserError(f"{path} is no tokenizer of this program, or it is damaged ({error}).") from error


def train(sources: list[str], targets: list[str], vocabulary: int, joint: bool, lowercase: bool) -> PairTokenizer:
    """At most `vocabulary` ids a table, specials included. The same texts and options give the same file.

    Raises UserError where `vocabulary` cannot hold every byte.
    """
    if vocabulary < SMALLEST:
        raise UserError(
            f"data.vocabulary={vocabulary} is too small: the 256 bytes and {len(SPECIALS)} special tokens alone are "
            f"{SMALLEST} ids."
        )
    if joint:
        table = train_table([*sources, *targets], vocabulary, lowercase)
        return PairTokenizer(table, table, lowercase)
    return PairTokenizer(*(train_table(texts, vocabulary, lowercase) for texts in (sources, targets)), lowercase)


def train_once(
    sources: list[str], targets: list[str], vocabulary: int, joint: bool, lowercase: bool, cache: str | Path
) -> PairTokenizer:
    """`train`, or what it gave for the very same texts and options before, from the folder `cache`."""
    options = {"vocabulary": vocabulary, "joint": joint, "lowercase": lowercase}
    path = Path(cache) / "tokenizers" / f"{_digest(sources, targets, options)}.json"
    try:
        return PairTokenizer.load(path)
    except UserError:  # not there yet, or damaged: both are cured by training
        log.info("training a tokenizer on %s pairs", f"{len(sources):,}")
        tokenizer = train(sources, targets, **options)
        tokenizer.save(path)
        return tokenizer


def train_table(texts: Iterable[str], vocabulary: int, lowercase: bool) -> Tokenizer:
    table = Tokenizer(models.BPE())
    steps = [normalizers.Lowercase()] if lowercase else []
    table.normalizer = normalizers.Sequence([*steps, normalizers.Prepend(" ")])
    table.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    table.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=SEEN_TWICE,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    table.train_from_iterator(texts, trainer)
    return table


def pieces(table: Tokenizer, ids: Iterable[int]) -> list[str]:
    """What each id stands for: a word begins with its space, a special token is its name, half a letter U+FFFD."""
    return [table.decode([i], skip_special_tokens=False) for i in ids]


def _encode(table: Tokenizer, texts: list[str]) -> Iterable[list[int]]:
    for start in range(0, len(texts), CHUNK):
        for encoding in table.encode_batch_fast(texts[start : start + CHUNK], add_special_tokens=False):
            yield encoding.ids


def _digest(sources: list[str], targets: list[str], options: dict) -> str:
    digest = hashlib.sha256(json.dumps([options, tokenizers.__version__, SPECIALS, SEEN_TWICE]).encode())
    for side in (sources, targets):
        digest.update(f"\0{len(side)}".encode())
        for text in side:
            data = text.encode()
            digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()
