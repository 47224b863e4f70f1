"""Configurations of other programs mean what they mean there; the layouts here are written from their descriptions."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import sparsec
from sparsec.diagnostics import SparsecError, WrongConfig
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

HEADS = 4


def mask(text: str, n: int, layer: int | None = None) -> np.ndarray:
    """Bool [HEADS, n, n]"""
    pattern = lower(parse(Source("config", text)), heads=HEADS, layer=layer)
    masks = [reference.mask(condition, n, n) for condition in pattern.conditions]
    return np.stack([masks[index] for index in pattern.head_conditions or (0,) * HEADS])


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n)[:, None], np.arange(n)


# ---------------------------------------------------------------- transformers

query, key = grid(40)
CAUSAL = key <= query


def windowed(w: int) -> np.ndarray:
    """transformers keeps kv_idx > q_idx - sliding_window, in the past."""
    return CAUSAL & (query - key < w)


def given_as(shape: str, **fields: object) -> object:
    return fields if shape == "dict" else SimpleNamespace(**fields)


@pytest.mark.parametrize("shape", ["dict", "object"])
def test_mistral(shape):
    assert (mask(sparsec.from_config(given_as(shape, model_type="mistral", sliding_window=7)), 40) == windowed(7)).all()
    assert (mask(sparsec.from_config(given_as(shape, model_type="mistral", sliding_window=None)), 40) == CAUSAL).all()


def test_gemma():
    assert (mask(sparsec.from_config({"model_type": "gemma"}), 40) == CAUSAL).all()


@pytest.mark.parametrize(("kind", "period"), [("gemma2", 2), ("gemma3_text", 6), ("gemma3", 6)])
@pytest.mark.parametrize("listed", [False, True])
def test_alternating_layers(kind, period, listed):
    kinds = ["full_attention" if layer % period == period - 1 else "sliding_attention" for layer in range(14)]
    fields = {"sliding_window": 5, "num_hidden_layers": 14, "layer_types": kinds if listed else None}
    fields["attn_logit_softcapping"] = None
    inner = {"model_type": "gemma3_text" if kind == "gemma3" else kind, **fields}
    text = sparsec.from_config({"model_type": kind, "text_config": inner} if kind == "gemma3" else inner)
    assert f"layer % {period}" in text
    for layer in range(14):
        expected = CAUSAL if kinds[layer] == "full_attention" else windowed(5)
        assert (mask(text, 40, layer) == expected).all(), layer


@given(st.lists(st.sampled_from(["sliding_attention", "full_attention"]), min_size=1, max_size=12))
def test_any_layers(kinds):
    text = sparsec.from_config(
        {"model_type": "olmo3", "sliding_window": 3, "num_hidden_layers": len(kinds), "layer_types": kinds}
    )
    for layer, kind in enumerate(kinds):
        assert (mask(text, 12, layer) == (CAUSAL if kind == "full_attention" else windowed(3))[:12, :12]).all()


@pytest.mark.parametrize("windows", [8, [8, 8, 8], [4, 8, 8], [4, 8, 4]])
@pytest.mark.parametrize("tokens", [0, 3])
def test_longformer(windows, tokens):
    config = SimpleNamespace(model_type="longformer", attention_window=windows, num_hidden_layers=3)
    text = sparsec.from_config(config, global_tokens=tokens)
    for layer in range(3):
        half = (windows if isinstance(windows, int) else windows[layer]) // 2
        assert (mask(text, 40, layer) == ((abs(query - key) <= half) | (query < tokens) | (key < tokens))).all()


@pytest.mark.parametrize("n", [1, 17, 20, 21, 37, 40])
def test_big_bird_without_random_blocks(n):
    """b = 4: full up to 5 blocks; then three blocks around, and the first and last of those after padding."""
    text = sparsec.from_config({"model_type": "big_bird", "block_size": 4, "num_random_blocks": 0})
    row, column = (side // 4 for side in grid(n))
    last = -(-n // 4) - 1
    edges = (row == 0) | (column == 0) | (row == last) | (column == last)
    expected = np.ones((n, n), bool) if n <= 20 else (abs(row - column) <= 1) | edges
    assert (mask(text, n) == expected).all()


def test_big_bird_other_than_block_sparse():
    for decoder, expected in ((False, np.ones((40, 40), bool)), (True, CAUSAL)):
        config = {"model_type": "big_bird", "attention_type": "original_full", "is_decoder": decoder}
        assert (mask(sparsec.from_config(config), 40) == expected).all()


def test_random_blocks_are_asked_for():
    config = {"model_type": "big_bird", "block_size": 4, "num_random_blocks": 2}
    with pytest.raises(SparsecError, match="seed=0"):
        sparsec.from_config(config)
    text = sparsec.from_config(config, seed=3)
    assert "seed = 3" in text
    seen = mask(text, 120)[0].reshape(30, 4, 30, 4).any((1, 3)).sum(1)
    assert (seen[[0, -1]] == 30).all()
    assert set(seen[1:-1]) <= {4, 5, 6, 7}


# ---------------------------------------------------------------- DeepSpeed


def layout(config: dict, n: int) -> np.ndarray:
    """Bool [HEADS, n, n]: the layout of a DeepSpeed configuration without random blocks."""
    b = config.get("block", 16)
    blocks = n // b
    heads = [_LAYOUTS[config["mode"]](config, h, blocks) for h in range(HEADS)]
    if not config.get("different_layout_per_head"):
        heads = heads[:1] * HEADS
    return np.stack(heads).repeat(b, axis=1).repeat(b, axis=2)


def _past(config: dict) -> bool:
    return config.get("attention") == "unidirectional"


def _windows(found: np.ndarray, cuts: list[int], past: bool) -> None:
    for start, end in pairwise(cuts):
        square = found[start:end, start:end]
        square |= np.tri(*square.shape, dtype=bool) if past else True


def _fixed(config: dict, h: int, blocks: int) -> np.ndarray:
    w, g = config["num_local_blocks"], config["num_global_blocks"]
    found = np.zeros((blocks, blocks), bool)
    _windows(found, [*range(0, blocks, w), blocks], _past(config))
    first = w - (1 + h % config["num_different_global_patterns"]) * g
    for start in range(0, blocks, w):
        at = start + first if start + w <= blocks else min(start + first, blocks - g)
        found[at if _past(config) else 0 :, at : at + g] = True
        if config["horizontal_global_attention"]:
            found[at : at + g] = True
    return found


def _spans(config: dict) -> list[tuple[int, int]]:
    starts = config["global_block_indices"]
    return list(zip(starts, config.get("global_block_end_indices") or [start + 1 for start in starts], strict=True))


def _variable(config: dict, h: int, blocks: int) -> np.ndarray:
    found = np.zeros((blocks, blocks), bool)
    cuts, sizes = [0], config["local_window_blocks"]
    while cuts[-1] < blocks:
        cuts.append(cuts[-1] + sizes[min(len(cuts), len(sizes)) - 1])
    _windows(found, cuts, _past(config))
    for start, end in _spans(config):
        found[start if _past(config) else 0 :, start:end] = True
        if config["horizontal_global_attention"]:
            found[start:end] = True
    return found


def _sliding(config: dict, h: int, blocks: int) -> np.ndarray:
    row, column = grid(blocks)
    found = abs(row - column) <= config["num_sliding_window_blocks"] // 2
    for start, end in _spans(config) if config["mode"] == "bslongformer" else [(0, config["num_global_blocks"])]:
        found[start:end] = found[:, start:end] = True
    return np.tril(found) if _past(config) else found


_LAYOUTS = {
    "dense": lambda config, h, blocks: np.ones((blocks, blocks), bool),
    "fixed": _fixed,
    "variable": _variable,
    "bigbird": _sliding,
    "bslongformer": _sliding,
    "local_sliding_window": lambda config, h, blocks: _sliding({**config, "num_global_blocks": 0}, h, blocks),
}

DIRECTIONS = st.sampled_from(["unidirectional", "bidirectional"])


@st.composite
def sparsities(draw: st.DrawFn) -> dict:
    mode = draw(st.sampled_from(sorted(_LAYOUTS)))
    config = {"mode": mode, "block": draw(st.sampled_from([1, 2, 3]))}
    if mode == "dense":
        return config
    config["attention"] = draw(DIRECTIONS)
    if mode in ("fixed", "variable"):
        config["horizontal_global_attention"] = config["attention"] == "bidirectional" and draw(st.booleans())
    if mode == "fixed":
        g, times = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        config |= {"num_local_blocks": g * times, "num_global_blocks": g}
        config["different_layout_per_head"] = draw(st.booleans())
        most = times if config["different_layout_per_head"] else 1
        config["num_different_global_patterns"] = draw(st.integers(1, most))
    if mode in ("variable", "bslongformer"):
        starts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
        config["global_block_indices"] = starts
        if draw(st.booleans()):
            config["global_block_end_indices"] = [start + draw(st.integers(1, 3)) for start in starts]
    if mode == "variable":
        config["local_window_blocks"] = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    if mode in ("bigbird", "bslongformer"):
        config["num_sliding_window_blocks"] = draw(st.integers(1, 6))
    if mode == "local_sliding_window":
        config["num_sliding_window_blocks"] = draw(st.integers(1, 6))
    if mode == "bigbird":
        config |= {"num_random_blocks": 0, "num_global_blocks": draw(st.integers(1, 3))}
    return config


@given(sparsities(), st.integers(1, 14))
def test_deepspeed(config, blocks):
    assume(blocks >= config.get("num_global_blocks", 1))
    n = blocks * config["block"]
    assert (mask(sparsec.from_config(config), n) == layout(config, n)).all()


def test_deepspeed_forms():
    """The whole configuration, its default mode, and an object of DeepSpeed's own class."""

    class FixedSparsityConfig(SimpleNamespace):
        pass

    class LocalSlidingWindowSparsityConfig(SimpleNamespace):
        pass

    text = sparsec.from_config(LocalSlidingWindowSparsityConfig(num_heads=8, block=4, num_sliding_window_blocks=3))
    assert (mask(text, 20)[0] == np.kron(np.tri(5) - np.tri(5, k=-2), np.ones((4, 4)))).all()  # past by default
    text = sparsec.from_config({"mode": "fixed", "block": 4})
    assert sparsec.from_config({"sparse_attention": {"block": 4}}) == text
    assert sparsec.from_config(FixedSparsityConfig(num_heads=8, num_layout_heads=1, block=4)) == text


@pytest.mark.parametrize("direction", ["unidirectional", "bidirectional"])
def test_deepspeed_random_blocks(direction):
    config = {"mode": "bigbird", "block": 2, "attention": direction, "different_layout_per_head": True}
    with pytest.raises(SparsecError, match="seed=0"):
        sparsec.from_config(config)
    found = mask(sparsec.from_config(config, seed=5), 80)
    fixed = layout({**config, "num_sliding_window_blocks": 3, "num_global_blocks": 1}, 80)
    assert (found >= fixed).all()
    assert (found[0] != found[1]).any()
    more = (found & ~fixed).reshape(HEADS, 40, 2, 40, 2).any((2, 4)).sum(2)
    assert more.max() == 1
    assert not (direction == "unidirectional" and np.triu(found[0][::2, ::2], 1).any())


# ---------------------------------------------------------------- refusals

BIRD = {"model_type": "big_bird", "block_size": 4, "num_random_blocks": 0}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "falcon"}, "`falcon`: it is not known here"),
        ({"mode": "local"}, "known are model_type llama"),
        ({"mode": ["fixed"]}, "not known here"),
        (3, "an object of type int"),
        ({"sparse_attention": None}, "an object of type NoneType"),
        ({"model_type": "mistral", "sliding_window": "big"}, "`sliding_window` is 'big'"),
        ({"model_type": "mistral", "sliding_window": True}, "`sliding_window` is True"),
        ({"model_type": "olmo3", "num_hidden_layers": 2}, "it has no `sliding_window`"),
        ({"model_type": "gemma", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (
            {"model_type": "olmo3", "sliding_window": 4, "num_hidden_layers": 2, "layer_types": ["full_attention"]},
            "`layer_types` is",
        ),
        ({"model_type": "longformer", "attention_window": [4, 4], "num_hidden_layers": 3}, "one for each layer"),
        ({"model_type": "longformer", "attention_window": 5, "num_hidden_layers": 3}, "even"),
        ({"model_type": "longformer", "attention_window": [], "num_hidden_layers": 3}, "a list of integers"),
        ({**BIRD, "is_decoder": True}, "a decoder has no block-sparse attention"),
        ({**BIRD, "attention_type": "flash"}, "known are block_sparse, original_full"),
        ({"mode": "fixed", "num_local_block": 4}, "it has no field `num_local_block`"),
        ({"mode": "fixed", "num_local_blocks": 4, "num_global_blocks": 3}, "contradict"),
        ({"mode": "fixed", "num_different_global_patterns": 2}, "contradict"),
        ({"mode": "variable", "attention": "unidirectional", "horizontal_global_attention": True}, "bidirectional"),
        ({"mode": "variable", "global_block_indices": [0, 4], "global_block_end_indices": [2]}, "must end each"),
        ({"mode": "bslongformer", "global_block_indices": [4], "global_block_end_indices": [4]}, "must end each"),
        ({"mode": "bslongformer", "global_block_indices": [-1]}, "at least 0"),
        ({"mode": "bigbird", "attention": "sideways"}, "known are unidirectional, bidirectional"),
        ({"mode": "fixed", "different_layout_per_head": "yes"}, "not true or false"),
    ],
    ids=str,
)
def test_refused(config, said):
    with pytest.raises(SparsecError) as info:
        sparsec.from_config(config)
    assert [type(each) for each in info.value.diagnostics] == [WrongConfig]
    assert said in str(info.value)


CAPPED = {"model_type": "gemma2", "num_hidden_layers": 2, "sliding_window": 4}
SINKS = {"model_type": "gpt_oss", "num_hidden_layers": 2, "sliding_window": 4}


def test_sinks():
    """They are the call's; the text says so, or that they are left out."""
    text = sparsec.from_config(SINKS)
    assert text.startswith("# Each head has a learned sink") and "sinks=sinks" in text
    alone = sparsec.from_config(SINKS, pairs_only=True)
    assert alone.startswith("# The pairs alone: each head has a learned sink")
    assert text.split("\n", 1)[1] == alone.split("\n", 1)[1]


@pytest.mark.parametrize(
    ("cap", "score"),
    [(..., "softcap(50)"), (5.0, "softcap(5)"), (30, "softcap(30)"), (30.5, "capped"), (None, "")],
)
def test_caps(cap, score):
    """Of scores, as in the configuration; transformers' default where it says none."""
    config = CAPPED if cap is ... else {**CAPPED, "attn_logit_softcapping": cap}
    text = sparsec.from_config(config)
    assert (f"with {score}" in text) if score else ("with" not in text.split("pattern")[-1])
    assert (mask(text, 40, 0) == windowed(4)).all()
    alone = sparsec.from_config(config, pairs_only=True)
    assert alone.startswith("# The pairs alone: scores are capped" if score else "# From")
    assert "with" not in alone.split("pattern gemma2")[-1]
    pattern = sparsec.compile(text, layer=0).pattern.nodes
    if score:
        s = np.linspace(-90, 90, 40)[None].repeat(40, 0)
        wanted = 50.0 if cap is ... else cap
        assert np.allclose(reference.scored(pattern.scores[0], s, np.arange(40)), wanted * np.tanh(s / wanted))
    else:
        assert not pattern.scores


@pytest.mark.parametrize("cap", ["high", 0, -1.0, True])
def test_caps_that_are_none(cap):
    with pytest.raises(SparsecError, match="attn_logit_softcapping"):
        sparsec.from_config({**CAPPED, "attn_logit_softcapping": cap})


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bloom", "n_head": 16},
        {"model_type": "mpt", "n_heads": 32, "attn_config": {"alibi": True}},
        {"model_type": "mpt", "n_heads": 12, "attn_config": {"alibi": False}},
        {"model_type": "bloom", "n_head": 112},
        {"model_type": "mpt", "n_heads": 8, "attn_config": {"alibi_bias_max": 16}},
        {"model_type": "mpt", "n_heads": 8, "attn_config": {"prefix_lm": True}},
    ],
)
def test_slopes_by_distance(config):
    """Of a power of 2 heads, with the slopes that the prelude's `alibi` has; the rest is refused."""
    odd = config.get("n_head") == 112 or {"alibi_bias_max", "prefix_lm"} & set(config.get("attn_config", ()))
    if odd:
        with pytest.raises(SparsecError):
            sparsec.from_config(config)
        return
    text = sparsec.from_config(config)
    assert (mask(text, 40, None) == CAUSAL).all()
    assert ("with alibi" in text) == (config.get("attn_config", {}).get("alibi") is not False)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mistral", "sliding_windw": 4096}, "did you mean `sliding_window`"),
        ({"model_type": "mistral"}, "it has no `sliding_window`"),
        ({"model_type": "qwen2", "num_hidden_layers": 4, "use_sliding_window": True}, "it has no `sliding_window`"),
        (
            {
                "model_type": "qwen2",
                "num_hidden_layers": 4,
                "use_sliding_window": True,
                "sliding_window": 4,
                "max_window_layer": 2,
            },
            "did you mean `max_window_layers`",
        ),
        ({"model_type": "llama4_text", "num_hidden_layers": 4}, "it has no `attention_chunk_size`"),
        ({"model_type": "cwm", "num_hidden_layers": 4, "sliding_window": 4}, "it has no `layer_types`"),
        ({"model_type": "olmo3", "sliding_window": 4, "num_hidden_layers": 2, "layer_type": []}, "did you mean"),
        ({"model_type": "mistral", "sliding_window": 4, "layer_types": ["full_attention"]}, "all alike"),
        ({"model_type": "gemma", "is_causal": False}, "`is_causal`"),
    ],
)
def test_missing_and_misspelt_fields(config, said):
    with pytest.raises(SparsecError) as info:
        sparsec.from_config(config)
    assert [type(each) for each in info.value.diagnostics] == [WrongConfig]
    assert said in str(info.value)


def test_layers_without_attention():
    kinds = ["conv", "full_attention", "sliding_attention"] * 2
    config = {"model_type": "lfm2", "num_hidden_layers": 6, "layer_types": kinds, "sliding_window": 3}
    text = sparsec.from_config(config)
    assert (mask(text, 40, 4) == CAUSAL).all()
    assert (mask(text, 40, 5) == windowed(3)).all()
    with pytest.raises(SparsecError, match="no arm"):
        mask(text, 40, 3)


def test_global_tokens_are_longformers():
    with pytest.raises(ValueError, match="Longformer"):
        sparsec.from_config({"model_type": "mistral", "sliding_window": 4}, global_tokens=1)


def test_a_flag_is_true_or_false():
    with pytest.raises(ValueError, match="pairs_only is True or False"):
        sparsec.from_config({"model_type": "mistral", "sliding_window": 4}, pairs_only="no")


def test_text():
    text = sparsec.from_config({"model_type": "mistral", "sliding_window": 4096})
    assert text == (
        "# From a transformers config of type mistral: sliding_window = 4096.\n"
        "# The query's own position is one of the keys in the window: q - k < sliding_window.\n"
        "pattern mistral(w = 4096) =\n    past(w)\n"
    )
    assert sparsec.compile(text, w=8).pattern.count(10) == 52


def test_no_torch_is_loaded():
    code = (
        "import sys, sparsec; sparsec.from_config({'mode': 'fixed'});"
        "assert not {'torch', 'transformers', 'numpy', 'islpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
