"""The worked example of examples/byte_model: rows of real text, a few steps of training, decoding from few pages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "examples" / "byte_model"
FILES = ("corpus", "model", "train", "generate")


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, ModuleType]]:
    """The files of the example, which import each other as a script's do."""
    with pytest.MonkeyPatch.context() as patches:
        patches.syspath_prepend(str(FOLDER))
        for name in FILES:
            patches.delitem(sys.modules, name, raising=False)
        yield {name: importlib.import_module(name) for name in FILES}
        for name in FILES:
            sys.modules.pop(name, None)


def test_rows_hold_each_text_once_in_order(example: dict[str, ModuleType]) -> None:
    corpus = example["corpus"]
    texts = [b"", b"ab", b"c" * 9, b"de", b"f" * 20]
    rows = list(corpus.packed_rows(texts, 7, seed=None))
    tokens = torch.cat([tokens[0] for tokens, _ in rows])
    written = [x for text in texts for x in (corpus.START, *text)]
    assert tokens.tolist() == written[: len(tokens)]
    assert len(written) - len(tokens) < 7
    for row, cu_seqlens in rows:
        begins = (row[0] == corpus.START).nonzero()[:, 0].tolist()
        wanted = [max([0, *(begin for begin in begins if begin <= at)]) for at in range(7)]
        assert corpus.starts(cu_seqlens, 7)[0].tolist() == wanted
        assert len(cu_seqlens) % 16 == 0
        assert cu_seqlens[-1] == 7
    first, second = (next(corpus.packed_rows(texts, 7, seed=1))[0] for _ in "ab")
    assert torch.equal(first, second)


def test_training_and_decoding(example: dict[str, ModuleType], tmp_path: Path) -> None:
    saved = tmp_path / "model.pt"
    report = example["train"].main(["--tiny", "--steps", "4", "--held-out-rows", "1", "--save", str(saved)])
    assert report["bits_a_byte"][-1] < report["bits_a_byte"][0] - 0.1
    prompt = "import os\n" * 12
    found = example["generate"].main([str(saved), "--bytes", "12", "--prompt", prompt])
    assert found["text"].shape == (1, 1 + len(prompt) + 12)
    assert sum(found["pages"]) < found["every"]
    assert found["behind"] < 1e-4  # a tie may go either way


@pytest.mark.parametrize(("pattern", "layer"), [("bigbird", 0), ("local_global", 0), ("local_global", 5)])
def test_flex_sees_the_same_pairs(example: dict[str, ModuleType], pattern: str, layer: int) -> None:
    """What its block masks are made from is, pair by pair, what the operator of the layer keeps of documents."""
    train = example["train"]
    flex = train.Flex(pattern, train.TINY, 160, torch.device("cpu"))
    cu_seqlens = torch.tensor([0, 40, 41, 160, 160], dtype=torch.int32)
    attend = train.operators(pattern, train.TINY)[layer]
    flex.block_mask = lambda mask_mod, *_: mask_mod
    mask_mod = flex.documents(cu_seqlens)[attend.pattern.nodes]
    at = torch.arange(160)
    mask = torch.vmap(torch.vmap(mask_mod, (None, None, None, 0)), (None, None, 0, None))(at[0], at[0], at, at)
    v = torch.eye(160)[None, None]
    kept = attend(torch.zeros_like(v), torch.zeros_like(v), v, documents=cu_seqlens)[0, 0] > 0
    assert torch.equal(kept, mask)
