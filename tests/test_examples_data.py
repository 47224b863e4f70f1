"""The examples that read data of a call against their papers, pair by pair, and through the operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sparsec
from sparsec.lower.file import lower_fully
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read
from sparsec.testing import check, compare, random_problem
from sparsec.testing.dense_attention import Results

EXAMPLES = Path(__file__).parent.parent / "examples/data"
N, HEADS = 70, 4
RANDOM = np.random.default_rng(0)

DOCUMENTS = np.repeat([3, 1, 7, 2], [20, 31, 4, 15])
PREFIX = np.array([0, 33])
QUESTION = RANDOM.random((2, N)) < 0.1
IMAGE = np.stack([np.repeat([-1, 0, -1, 1], [9, 30, 6, 25]), np.full(N, -1)])
VERTICAL, SLASH = RANDOM.integers(0, N, (2, HEADS, 3)), RANDOM.integers(0, N, (2, HEADS, 5))
SPAN = np.array([1, 9, 70, 3])
BLOCKS, CUBES = RANDOM.integers(-1, 2, (2, 2, N, 3)), RANDOM.integers(-1, 3, (1, HEADS, 2, 2))
BEST = RANDOM.integers(0, N, (2, 1, N, 5))

# What a call gives, small parameters, and whether row b and head h of the paper keep a pair.
PAPERS: dict[str, tuple[dict[str, np.ndarray], dict[str, int], Callable[[int, int, int, int], bool]]] = {
    "packed_documents": ({"doc": DOCUMENTS}, {}, lambda b, h, q, k: k <= q and DOCUMENTS[q] == DOCUMENTS[k]),
    "prefix_lengths": ({"prefix": PREFIX}, {}, lambda b, h, q, k: k <= q or k < PREFIX[b]),
    "question_tokens": (
        {"question": QUESTION},
        {"w": 8},
        lambda b, h, q, k: abs(q - k) <= 4 or QUESTION[b, q] or QUESTION[b, k],
    ),
    "image_blocks": (
        {"image": IMAGE},
        {},
        lambda b, h, q, k: k <= q or (IMAGE[b, q] >= 0 and IMAGE[b, q] == IMAGE[b, k]),
    ),
    "minference": (
        {"vertical": VERTICAL, "slash": SLASH},
        {},
        lambda b, h, q, k: k <= q and (k in VERTICAL[b, h] or q - k in SLASH[b, h]),
    ),
    "nsa": (
        {"chosen": BLOCKS},
        {"w": 5, "s": 2},
        lambda b, h, q, k: k <= q and (k // 64 in BLOCKS[b, h // 2, q] or q - k < 5 or k < 2),
    ),
    "vsa": ({"cubes": CUBES}, {}, lambda b, h, q, k: k // 64 in CUBES[0, h, q // 64]),
    "dsa": ({"best": BEST}, {}, lambda b, h, q, k: k <= q and k in BEST[b, 0, q]),
    "head_spans": ({"span": SPAN}, {}, lambda b, h, q, k: 0 <= q - k < SPAN[h]),
}


CHOOSING = {  # small parameters
    "moba": {"t": 2, "b": 8},
    "quest": {"pages": 2},
    "flexprefill": {"most": 4, "b": 8, "percent": 60},
    "nsa_top": {"t": 2, "b": 8, "w": 9},
    "explicit_sparse_transformer": {"t": 5},
    "reformer": {"buckets": 4, "rounds": 2, "chunk": 9},
    "routing_transformer": {"t": 11, "w": 6},
}
CENTROIDS = {"routing_transformer": {"mu": torch.randn(HEADS, 16, 16, generator=torch.Generator().manual_seed(0))}}


@pytest.mark.parametrize("name", CHOOSING)
def test_example_that_chooses(name):
    """What is chosen against a literal choice (`sparsec.testing.choices`), then attention against dense attention."""
    heads = HEADS if name == "routing_transformer" else None
    lowered = lower_fully(parse(read(EXAMPLES / f"{name}.spat")), parameters=CHOOSING[name], heads=heads)
    assert (lowered.pattern.name, lowered.warnings) == (name, ())
    assert "arXiv:" in lowered.pattern.doc
    attend = sparsec.load(EXAMPLES / f"{name}.spat", **CHOOSING[name], **({"heads": heads} if heads else {}))
    given = CENTROIDS.get(name, {})
    check(attend, N, N, heads=HEADS, kv_heads=2, **given)
    check(attend, 5, N, heads=HEADS, kv_heads=2, **given)


def test_moba_in_its_own_words():
    """Of each query: its own block and, of those before it, the one whose mean key it scores best."""
    attend = sparsec.load(EXAMPLES / "moba.spat", **CHOOSING["moba"])
    q, k = torch.randn(2, 1, 1, N, 16)
    mask = attend.pattern.mask(N, N, **attend.choices(q, k)).reshape(N, N)
    for query in range(N):
        own = query // 8
        means = [k[0, 0, 8 * block : 8 * block + 8].mean(0) @ q[0, 0, query] for block in range(own)]
        blocks = {own, int(np.argmax(means))} if means else {own}
        assert mask[query].tolist() == [key <= query and key // 8 in blocks for key in range(N)]


def bucket_of_t5(ahead: torch.Tensor) -> torch.Tensor:
    """T5's bucket of a distance k - q: 16 for each side, one each for the first 8, then by logarithm up to 128."""
    far = ahead.abs()
    large = 8 + ((far / 8).clamp(min=1).log() / np.log(16) * 8).long()
    return torch.where(ahead > 0, 16, 0) + torch.where(far < 8, far, large.clamp(max=15))


def test_t5():
    """Out, and the gradients of everything, the 32 numbers of each head among them, as T5 has them."""
    attend, n = sparsec.load(EXAMPLES / "t5.spat"), 300
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(1, 2, n, 16, generator=generator, dtype=torch.float64) for _ in "qkvg")
    weight = torch.randn(32, 2, generator=generator, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (q, k, v, weight)]
    found = attend(q, k, v, scale=1.0, bias=weight[bucket_of_t5(torch.arange(-128, 129))].T)
    ahead = torch.arange(n) - torch.arange(n)[:, None]
    wanted = (q @ k.mT + weight[bucket_of_t5(ahead)].permute(2, 0, 1)).softmax(-1) @ v
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(x, leaves, g) for x in (found, wanted)))


def test_every_example_has_a_paper():
    assert sorted([*PAPERS, *CHOOSING, "t5"]) == sorted(path.stem for path in EXAMPLES.glob("*.spat"))


@pytest.mark.parametrize("name", PAPERS)
def test_example(name):
    data, parameters, keeps = PAPERS[name]
    lowered = lower_fully(parse(read(EXAMPLES / f"{name}.spat")), parameters=parameters)
    assert (lowered.pattern.name, lowered.warnings) == (name, ())
    assert "arXiv:" in lowered.pattern.doc
    attend = sparsec.load(EXAMPLES / f"{name}.spat", **parameters)
    mask = np.array([[[[keeps(b, h, q, k) for k in range(N)] for q in range(N)] for h in range(HEADS)] for b in (0, 1)])
    found = attend.pattern.mask(N, N, **data)
    axes = {axis for each in lowered.pattern.inputs for axis in each.axes}
    lists = max((x.shape[1] for x in data.values() if x.ndim == 4), default=1)  # a mask for each head that has its own
    by_row, by_head = ("B" in axes and name != "vsa"), HEADS if "H" in axes else lists
    found = found.reshape(2 if by_row else 1, by_head, N, N).repeat(HEADS // by_head if by_head > 1 else 1, 1)
    assert (found == mask).all()

    problem = random_problem(mask, heads=HEADS, kv_heads=2, batch=2)
    tensors = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    given = {name: torch.from_numpy(x) for name, x in data.items()}
    given |= {name: x.expand(2, -1, -1, -1) for name, x in given.items() if x.dim() == 4}
    out, lse = attend(*tensors, return_lse=True, **given)
    gradients = torch.autograd.grad([out, lse], tensors, [problem.g, problem.dlse])
    assert all(each.holds for each in compare(Results(out.detach(), lse.detach(), *gradients), problem))
