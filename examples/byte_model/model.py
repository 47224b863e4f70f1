"""A Transformer over bytes, in the shape of Mistral: rotary positions, grouped key heads, RMSNorm and SwiGLU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from corpus import VOCABULARY
from torch import Tensor, nn
from torch.nn import functional

# q [B, H, n, D], k and v [B, H_kv, n, D], and what says where documents are -> [B, H, n, D]
Attention = Callable[[Tensor, Tensor, Tensor, Any], Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; a head's is `size // heads`."""

    layers: int = 12
    size: int = 1024
    heads: int = 8
    kv_heads: int = 2


TINY = Shape(layers=6, size=64, heads=4, kv_heads=2)


class Layer(nn.Module):
    """Attention and an MLP, each added to what came in; [B, n, size] -> [B, n, size]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, self.heads, self.kv_heads = shape.size, shape.heads, shape.kv_heads
        self.head_size = size // shape.heads
        self.norms = nn.ModuleList([nn.RMSNorm(size), nn.RMSNorm(size)])
        self.qkv = nn.Linear(size, (shape.heads + 2 * shape.kv_heads) * self.head_size, bias=False)
        self.out = nn.Linear(size, size, bias=False)
        self.gate, self.up = (nn.Linear(size, 8 * size // 3 // 64 * 64, bias=False) for _ in "gu")
        self.down = nn.Linear(self.up.out_features, size, bias=False)

    def forward(self, x: Tensor, angles: Tensor, attention: Attention, documents: Any) -> Tensor:
        parts = self.qkv(self.norms[0](x)).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        q, k, v = parts.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        mixed = attention(rotated(q, angles), rotated(k, angles), v, documents)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        h = self.norms[1](x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    """Tokens [B, n] and their positions [B, n] -> logits [B, n, VOCABULARY]; one attention for each layer."""

    def __init__(self, shape: Shape, attentions: list[Attention]) -> None:
        super().__init__()
        self.attentions = attentions
        self.tokens = nn.Embedding(VOCABULARY, shape.size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.size)
        self.head = nn.Linear(shape.size, VOCABULARY, bias=False)
        half = shape.size // shape.heads // 2
        self.register_buffer("frequencies", 500_000.0 ** -(torch.arange(half) / half), persistent=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor, documents: Any) -> Tensor:
        x = self.tokens(tokens)
        angles = positions[:, None, :, None] * self.frequencies  # [B, 1, n, D / 2]
        for layer, attention in zip(self.layers, self.attentions, strict=True):
            x = layer(x, angles, attention, documents)
        return self.head(self.norm(x))


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021, arXiv:2104.09864), halves paired as in Llama."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)
