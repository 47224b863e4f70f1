"""Biases by distance, as T5 and LongT5 have them: imported, and compared with transformers."""

from __future__ import annotations

import pytest
import torch

import sparsec

BIASED = {"model_type": "longt5", "local_radius": 4}
RELATIVE = {"model_type": "t5", "relative_attention_num_buckets": 16, "relative_attention_max_distance": 20}


@pytest.mark.parametrize("config", [RELATIVE, BIASED, {"model_type": "umt5"}], ids=lambda config: config["model_type"])
def test_biases_by_distance(config):
    """As transformers computes them: its own table of buckets, through which gradients go."""
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    text, n, heads = sparsec.from_config(config), 60, 2
    assert "scale=1.0" in text
    attend = sparsec.compile(text)
    buckets = config.get("relative_attention_num_buckets", 32)
    far = config.get("relative_attention_max_distance", 128)
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, heads, n, 16, generator=generator, dtype=torch.float64).unbind(0)
    weight = torch.randn(buckets, heads, generator=generator, dtype=torch.float64, requires_grad=True)
    bucket = t5.T5Attention._relative_position_bucket
    out = attend(q, k, v, scale=1.0, bias=weight[bucket(torch.arange(-far, far + 1), True, buckets, far)].T)
    ahead = torch.arange(n) - torch.arange(n)[:, None]
    scores = q @ k.mT + weight[bucket(ahead, True, buckets, far)].permute(2, 0, 1)
    scores = scores.masked_fill(ahead.abs() > config.get("local_radius", n), float("-inf"))
    wanted = scores.softmax(-1) @ v
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), weight) for x in (out, wanted)))
    assert "with" not in sparsec.from_config(config, pairs_only=True).partition("pattern")[2]
