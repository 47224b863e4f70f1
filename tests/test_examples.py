"""Every example against its paper, written out a second time in numpy, and through every stage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.generated import EXAMPLES, SMALL_PARAMETERS

from sparsec.ir import reference
from sparsec.lower.file import Lowered, lower_fully
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

N, HEADS = 150, 8


def load(name: str, layer: int = 3, **parameters: int) -> Lowered:
    file = parse(read(EXAMPLES / f"{name}.spat"))
    return lower_fully(file, heads=HEADS, layer=layer, layers=32, parameters=parameters or SMALL_PARAMETERS[name])


def mask(lowered: Lowered, head: int) -> np.ndarray:
    pattern = lowered.pattern
    return reference.mask(pattern.conditions[pattern.head_conditions[head] if pattern.heads else 0], N, N)


def pairs(keeps: Callable[[int, int], bool]) -> np.ndarray:
    return np.array([[bool(keeps(q, k)) for k in range(N)] for q in range(N)])


def test_every_example_has_small_parameters() -> None:
    assert sorted(SMALL_PARAMETERS) == sorted(path.stem for path in EXAMPLES.glob("*.spat"))


@pytest.mark.parametrize("name", SMALL_PARAMETERS)
def test_example_is_clean_and_named_after_its_file(name: str) -> None:
    for lowered in (load(name), load(name, **dict(load(name).pattern.parameters))):
        assert lowered.warnings == ()
        assert lowered.pattern.name == name
        assert len(lowered.pattern.doc) > 30


@pytest.mark.parametrize("name", SMALL_PARAMETERS)
def test_no_query_of_an_example_is_left_without_keys(name: str) -> None:
    allowed_empty = {"explicit_blocks"}  # its table ends after four blocks
    rows = mask(load(name), 0).any(axis=1)
    assert rows.all() or name in allowed_empty


# ---------------------------------------------------------------- the papers, pair by pair


def test_sliding_window() -> None:
    assert (mask(load("sliding_window"), 0) == pairs(lambda q, k: -8 <= q - k <= 8)).all()


def test_mistral_keeps_w_keys_its_own_included() -> None:
    assert (mask(load("mistral"), 0) == pairs(lambda q, k: k in range(q - 19, q + 1))).all()


def test_dilated_window_keeps_w_keys_s_apart() -> None:
    assert (mask(load("dilated_window"), 0) == pairs(lambda q, k: k in [q + 4 * i for i in range(-4, 5)])).all()


def test_sparse_transformer_strided_is_the_union_of_the_papers_two_sets() -> None:
    stride = 12
    first = pairs(lambda i, j: j in range(max(0, i - stride), i + 1))
    second = pairs(lambda i, j: j <= i and (i - j) % stride == 0)
    assert (mask(load("sparse_transformer_strided"), 0) == first | second).all()


def test_sparse_transformer_fixed_is_the_union_of_the_papers_two_sets() -> None:
    length, summary = 16, 3
    first = pairs(lambda i, j: j <= i and j // length == i // length)
    second = pairs(lambda i, j: j <= i and j % length in range(length - summary, length))
    assert (mask(load("sparse_transformer_fixed"), 0) == first | second).all()


def test_longformer() -> None:
    assert (mask(load("longformer"), 0) == pairs(lambda q, k: abs(q - k) <= 8 or q < 5 or k < 5)).all()


@pytest.mark.parametrize(("name", "sinks"), [("streaming_llm", 4), ("a_shape", 6)])
def test_sinks_and_the_last_tokens(name: str, sinks: int) -> None:
    assert (mask(load(name), 0) == pairs(lambda q, k: k <= q and (k < sinks or q - k < 20))).all()


def test_prefix_lm() -> None:
    assert (mask(load("prefix_lm"), 0) == pairs(lambda q, k: k <= q or (q < 30 and k < 30) or k < 30)).all()


def test_neighbourhood_2d() -> None:
    def keeps(q: int, k: int) -> bool:
        (y, x), (v, u) = divmod(q, 13), divmod(k, 13)
        return max(abs(y - v), abs(x - u)) <= 2

    assert (mask(load("neighbourhood_2d"), 0) == pairs(keeps)).all()


def longnet(head: int) -> np.ndarray:
    """Segments of 16, 32 and 64 at rates 1, 2 and 4: LongNet's slicing, with the offset of a head."""
    kept = np.zeros((N, N), bool)
    for segment, rate in ((16, 1), (32, 2), (64, 4)):
        for start in range(0, N, segment):
            chosen = np.arange(start + head % rate, min(start + segment, N), rate)
            kept[np.ix_(chosen, chosen)] = True
    return kept & np.tri(N, dtype=bool)


def test_longnet() -> None:
    assert (mask(load("longnet"), 0) == longnet(0)).all()


def test_longnet_heads() -> None:
    lowered = load("longnet_heads")
    assert all((mask(lowered, head) == longnet(head)).all() for head in range(HEADS))
    assert len(lowered.pattern.conditions) == 4, "heads a whole cycle apart share a condition"


def test_bigbird() -> None:
    kept = mask(load("bigbird"), 0)
    block, count = 8, -(-N // 8)
    sure = pairs(lambda q, k: abs(q // block - k // block) <= 1 or q < 2 * block or k < 2 * block)
    assert (kept | ~sure).all()
    blocks = np.array(
        [[(kept & ~sure)[i * 8 : i * 8 + 8, j * 8 : j * 8 + 8].any() for j in range(count)] for i in range(count)]
    )
    assert (blocks.sum(axis=1) <= 2).all()
    assert blocks.sum() > count // 2, "most rows keep a random block outside window and globals"
    assert (kept[16:24] == kept[16]).sum() == 8 * N, "all queries of a block see the same blocks"


def test_bigbird_tokens() -> None:
    kept = mask(load("bigbird_tokens"), 0)
    sure = pairs(lambda q, k: abs(q - k) <= 4 or q < 2 or k < 2)
    assert (kept | ~sure).all()
    drawn = (kept & ~sure).sum(axis=1)
    assert drawn.max() == 3 and drawn.sum() > N, "most rows keep random keys outside window and globals"
    assert len(np.unique(kept & ~sure, axis=0)) > N // 2, "every query draws its own"


def test_explicit_blocks_is_a_ring_of_four() -> None:
    ring = pairs(lambda q, k: max(q, k) < 128 and (q // 32 - k // 32) % 4 in (0, 1, 3))
    assert (mask(load("explicit_blocks"), 0) == ring).all()


def test_deepspeed_fixed_is_the_layout_of_its_configuration() -> None:
    """FixedSparsityConfig's two loops, for a number of blocks that the windows divide."""
    lowered, blocks, local = load("deepspeed_fixed"), 36, 4
    for head in range(HEADS):
        layout = np.kron(np.eye(blocks // local), np.ones((local, local))).astype(bool)
        for column in range(local - (1 + head % 4), blocks, local):
            layout[column:, column] = True
        expected = np.kron(layout, np.ones((4, 4), bool)) & np.tri(4 * blocks, dtype=bool)
        assert (mask(lowered, head)[: 4 * blocks, : 4 * blocks] == expected).all()


def test_deepspeed_variable_is_the_layout_of_its_configuration() -> None:
    """VariableSparsityConfig's windows and global columns, in blocks of 4."""
    kept, blocks = mask(load("deepspeed_variable"), 0), -(-N // 4)
    layout = np.zeros((blocks, blocks), bool)
    for first, last in ((0, 2), (2, 6), *((start, start + 8) for start in range(6, blocks, 8))):
        layout[first:last, first:last] = True
    layout[:, [0, 7]] = True
    sure = np.kron(layout, np.ones((4, 4), bool))[:N, :N]
    assert (kept | ~sure).all()
    extra = np.add.reduceat(np.add.reduceat(kept & ~sure, range(0, N, 4), axis=0, dtype=int), range(0, N, 4), axis=1)
    assert ((extra > 0).sum(axis=1) <= 2).all()
    assert extra.any()


def test_per_head_strides() -> None:
    lowered = load("per_head_strides")
    for head in range(HEADS):
        step = 2 ** (head // 4)
        assert (mask(lowered, head) == pairs(lambda q, k, s=step: q - k in range(0, 6 * s + 1, s))).all()


def scores(lowered: Lowered, s: np.ndarray, head: int) -> np.ndarray:
    (score,) = lowered.pattern.scores
    return reference.scored(score, s, np.arange(N), head, HEADS)


def test_gemma2_caps_the_scores_of_every_layer() -> None:
    s = np.random.default_rng(0).normal(size=(N, N)) * 9
    for layer in range(4):
        lowered = load("gemma2", layer)
        window = 20 if layer % 2 == 0 else N
        assert (mask(lowered, 0) == pairs(lambda q, k, w=window: 0 <= q - k < w)).all()
        assert np.allclose(scores(lowered, s, 0), np.tanh(s / 5) * 5)


def test_bloom_takes_its_slopes_times_the_distance() -> None:
    """The paper's series for 8 heads, 1/2, 1/4, .., and one pattern for all of them."""
    lowered, s = load("bloom"), np.random.default_rng(0).normal(size=(N, N))
    assert (mask(lowered, 0) == np.tri(N, dtype=bool)).all()
    distance = np.arange(N)[:, None] - np.arange(N)
    for head in range(HEADS):
        found = np.where(distance >= 0, scores(lowered, s, head), 0)
        assert np.allclose(found, np.where(distance >= 0, s - distance / 2 ** (head + 1), 0))


def test_hybrid_layers() -> None:
    dense = np.tri(N, dtype=bool)
    window = pairs(lambda q, k: 0 <= q - k < 20)
    for layer in range(10):
        assert (mask(load("hybrid_layers", layer), 0) == (dense if layer == 7 else window)).all()


@pytest.mark.parametrize(("name", "dense"), [("local_global", {5, 11}), ("gpt_oss", {1, 3, 5, 7, 9, 11})])
def test_layers_of_windows_and_layers_of_the_whole_past(name: str, dense: set[int]) -> None:
    """Gemma 3: `(layer + 1) % 6` is not 0 for windows; GPT-OSS: `layer_types` begins with a window and alternates."""
    past, window = np.tri(N, dtype=bool), pairs(lambda q, k: 0 <= q - k < 20)
    for layer in range(12):
        assert (mask(load(name, layer), 0) == (past if layer in dense else window)).all()


def test_chunked() -> None:
    """Llama 4: keys from `q // chunk * chunk` on; layers 3, 7, 11 ... see everything before them."""
    chunks = pairs(lambda q, k: q // 16 * 16 <= k <= q)
    for layer in range(8):
        assert (mask(load("chunked", layer), 0) == (np.tri(N, dtype=bool) if layer in (3, 7) else chunks)).all()


def test_block_diffusion() -> None:
    """A query of the prompt sees the prompt; one behind it, everything to the end of its own block."""
    kept = np.zeros((N, N), dtype=bool)
    kept[:20, :20] = True
    for first in range(20, N, 7):
        kept[first : first + 7, : first + 7] = True
    assert (mask(load("block_diffusion"), 0) == kept).all()
