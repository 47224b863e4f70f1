"""An attention layer trained on a sequence over several processes: `torchrun --nproc_per_node 2 train_sharded.py`.

On a CPU as it stands; on GPUs with "nccl" and "cuda".  Every rank holds a part of the tokens and all parameters.  What
crosses the ranks: the keys that queries see (sparsec), and gradients of parameters (DDP).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn import functional

import sparsec
import sparsec.distributed

VOCABULARY, SIZE, HEADS, LENGTH = 16, 64, 4, 240


class Model(nn.Module):
    """Tokens [B, m] of this rank, at their positions [m] -> logits [B, m, VOCABULARY]."""

    def __init__(self, pattern: str, mesh: DeviceMesh) -> None:
        super().__init__()
        self.attend = sparsec.distributed.shard(sparsec.compile(pattern), mesh)
        self.tokens, self.positions = nn.Embedding(VOCABULARY, SIZE), nn.Embedding(LENGTH, SIZE)
        self.project_in, self.project_out = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.norm = nn.LayerNorm(SIZE)
        self.head = nn.Sequential(nn.Linear(SIZE, 4 * SIZE), nn.GELU(), nn.Linear(4 * SIZE, VOCABULARY))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(positions)
        q, k, v = self.project_in(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = self.attend(q, k, v, n=LENGTH)
        return self.head(x + self.project_out(out.transpose(1, 2).flatten(2)))


def train(mesh: DeviceMesh, steps: int = 60) -> list[float]:
    """The loss at each step: every 8th token repeats the first one of the sequence, which lies on the first rank."""
    torch.manual_seed(0)  # the same parameters and sequences everywhere
    model = Model("pattern p = past(8) | sinks(1)", mesh)
    parallel = nn.parallel.DistributedDataParallel(model, process_group=mesh.get_group())
    positions = model.attend.positions(LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        whole = torch.randint(VOCABULARY, (16, LENGTH))
        whole[:, 7::8] = whole[:, :1]
        tokens, following = (model.attend.local(x, dim=1) for x in (whole, whole.roll(-1, 1)))
        asked = positions % 8 == 6
        loss = functional.cross_entropy(
            parallel(tokens, positions)[:, asked].flatten(0, 1), following[:, asked].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    dist.init_process_group("gloo")
    losses = train(init_device_mesh("cpu", (dist.get_world_size(),)))
    if dist.get_rank() == 0:
        for step in [*range(0, len(losses), 10), len(losses) - 1]:
            print(f"step {step:3}  loss {losses[step]:.3f}")
    dist.destroy_process_group()
