"""Documents of unequal lengths packed in one row, without padding: one attention layer trained on them, on a CPU.

The task needs the pattern to know documents: every 8th token of a document repeats its first one, which `sinks` keeps
for each document, wherever it lies in the row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import sparsec

VOCABULARY, SIZE, HEADS, LONGEST = 16, 64, 4, 120


class Model(nn.Module):
    """Tokens [1, T] of packed documents -> logits [1, T, VOCABULARY]."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self.attend = sparsec.compile(pattern)
        self.tokens, self.positions = nn.Embedding(VOCABULARY, SIZE), nn.Embedding(LONGEST, SIZE)
        self.project_in, self.project_out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.norm = nn.LayerNorm(SIZE)
        self.head = nn.Sequential(nn.Linear(SIZE, 4 * SIZE), nn.GELU(), nn.Linear(4 * SIZE, VOCABULARY))

    def forward(self, tokens: Tensor, cu_seqlens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(position_ids(cu_seqlens))
        q, k, v = self.project_in(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = self.attend(q, k, v, documents=cu_seqlens)
        return self.head(x + self.project_out(out.transpose(1, 2).flatten(2)))


def position_ids(cu_seqlens: Tensor) -> Tensor:
    """The position of each token in its own document, [1, T]."""
    starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff().long()
    return (torch.arange(int(cu_seqlens[-1])) - starts.repeat_interleave(lengths))[None]


def packed_row(documents: int = 12) -> tuple[Tensor, Tensor]:
    """Random documents in one row, tokens [1, T], and where they end, cu_seqlens int32 [documents + 1]."""
    lengths = torch.randint(10, LONGEST, (documents,))
    cu_seqlens = torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32)
    tokens = torch.randint(VOCABULARY, (1, int(lengths.sum())))
    position = position_ids(cu_seqlens)
    first = tokens[:, cu_seqlens[:-1].long()].repeat_interleave(lengths, dim=1)
    return torch.where(position % 8 == 7, first, tokens), cu_seqlens


def train(steps: int = 60) -> list[float]:
    """The loss on the repeated tokens at each step."""
    torch.manual_seed(0)
    model = Model("pattern p = sinks(1) | past(8)")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        tokens, cu_seqlens = packed_row()
        asked = (position_ids(cu_seqlens)[0] % 8 == 7).nonzero()[:, 0]  # predicted from the token before
        predicted = model(tokens, cu_seqlens)[0, asked - 1]
        loss = functional.cross_entropy(predicted, tokens[0, asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    losses = train()
    for step in [*range(0, len(losses), 10), len(losses) - 1]:
        print(f"step {step:3}  loss {losses[step]:.3f}")
