"""One transformer layer with a sparse pattern, trained for a few steps on a CPU.

The task needs memory: every 16th token repeats the first one, so a query must find key 0, which `sinks` keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import sparsec

VOCABULARY, SIZE, HEADS = 16, 64, 4


class Layer(nn.Module):
    """Attention over the pattern, then an MLP; [B, n, SIZE] -> [B, n, SIZE]."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.attend = sparsec.compile(pattern)
        self.project_in = nn.Linear(SIZE, 3 * SIZE)
        self.project_out = nn.Linear(SIZE, SIZE)
        self.mlp = nn.Sequential(nn.Linear(SIZE, 4 * SIZE), nn.GELU(), nn.Linear(4 * SIZE, SIZE))
        self.norms = nn.ModuleList([nn.LayerNorm(SIZE), nn.LayerNorm(SIZE)])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project_in(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.project_out(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Model(nn.Module):
    """Tokens [B, n] -> logits [B, n, VOCABULARY]."""

    def __init__(self, pattern: str, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, SIZE)
        self.positions = nn.Embedding(length, SIZE)
        self.layer = Layer(pattern)
        self.head = nn.Linear(SIZE, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]))


def batch(length: int, count: int = 16) -> Tensor:
    """Random tokens, every 16th of which repeats the first; int64 [count, length]."""
    tokens = torch.randint(VOCABULARY, (count, length))
    tokens[:, 15::16] = tokens[:, :1]
    return tokens


def train(steps: int = 60, length: int = 100) -> list[float]:
    """The loss on the repeated tokens at each step."""
    torch.manual_seed(0)
    model = Model("pattern p = sinks(1) | past(8)", length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        tokens = batch(length)
        predicted = model(tokens)[:, 14:-1:16]
        loss = functional.cross_entropy(predicted.flatten(0, 1), tokens[:, 15::16].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    losses = train()
    for step in range(0, len(losses), 10):
        print(f"step {step:3}  loss {losses[step]:.3f}")
    print(f"step {len(losses) - 1:3}  loss {losses[-1]:.3f}")
