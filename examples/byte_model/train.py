"""Train a byte-level model on long packed rows of source code: dense, windows and global layers, BigBird-like.

    python examples/byte_model/train.py --tiny                                  # some minutes on a CPU
    python examples/byte_model/train.py --pattern local_global --seconds 60     # on a GPU
    python examples/byte_model/train.py --pattern local_global --attention flex # the same with FlexAttention

Every run sees the same tokens in the same order.  It prints loss, tokens a second and memory, and writes them with
`--json`; `--save` keeps the weights for generate.py.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from corpus import START, documents, packed_rows, starts
from model import TINY, Model, Shape
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

import sparsec

PATTERNS = Path(__file__).with_name("patterns.spat")
NARROW = {"local_global": {"w": 64}, "bigbird": {"b": 8, "near": 8}}


def operators(pattern: str, shape: Shape) -> list[sparsec.Attend]:
    """A pattern of patterns.spat for each layer; narrower ones for the tiny model, whose texts are short."""
    bound = NARROW.get(pattern, {}) if shape == TINY else {}
    layers = range(shape.layers)
    return [sparsec.load(PATTERNS, pattern=pattern, layer=layer, layers=shape.layers, **bound) for layer in layers]


class Sparsec:
    """Attention over the pattern; where documents begin says which there are, without a mask."""

    def __init__(self, pattern: str, shape: Shape) -> None:
        self.attentions = [
            lambda q, k, v, cu_seqlens, attend=attend: attend(q, k, v, documents=cu_seqlens)
            for attend in operators(pattern, shape)
        ]

    def documents(self, cu_seqlens: Tensor) -> Tensor:
        return cu_seqlens


class Flex:
    """FlexAttention over the same pairs: one block mask for each row of tokens and each pattern that layers share."""

    def __init__(self, pattern: str, shape: Shape, length: int, device: torch.device) -> None:
        attends = operators(pattern, shape)
        self.length = length
        self.mask_mods = {attend.pattern.nodes: attend.pattern.mask_mod(length, device) for attend in attends}
        self.attentions = [
            lambda q, k, v, masks, own=attend.pattern.nodes: flex_attention(
                q, k, v, block_mask=masks[own], enable_gqa=True
            )
            for attend in attends
        ]
        self.block_mask = torch.compile(create_block_mask)

    def documents(self, cu_seqlens: Tensor) -> dict[Any, BlockMask]:
        first = starts(cu_seqlens, self.length)[0]

        def within(mask_mod: Callable) -> Callable:
            return lambda b, h, q, k: (first[q] == first[k]) & mask_mod(b, h, q - first[q], k - first[k])

        return {
            own: self.block_mask(within(mask_mod), None, None, self.length, self.length, first.device)
            for own, mask_mod in self.mask_mods.items()
        }


def loss_of(model: nn.Module, tokens: Tensor, cu_seqlens: Tensor, documents: Any) -> Tensor:
    """Cross entropy, in nats a byte, of each byte from those of its document before it."""
    length = tokens.shape[1]
    positions = torch.arange(length, device=tokens.device) - starts(cu_seqlens, length)
    logits = model(tokens, positions, documents)[:, :-1].flatten(0, 1)
    following = tokens[:, 1:].flatten()
    return functional.cross_entropy(logits.float(), following.where(following != START, -100))


def rows_on(device: torch.device, rows: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((tokens.to(device), cu_seqlens.to(device)) for tokens, cu_seqlens in rows)


def main(arguments: list[str] | None = None) -> dict:
    given = parser().parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() and not given.tiny else "cpu")
    shape, length = (TINY, 1024) if given.tiny else (Shape(), given.length)
    rate = given.rate or (3e-3 if given.tiny else 6e-4)
    torch.manual_seed(0)
    attention = (
        Flex(given.pattern, shape, length, device) if given.attention == "flex" else Sparsec(given.pattern, shape)
    )
    model = Model(shape, attention.attentions).to(device)
    run = model if given.tiny else torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    losses, times, begun = [], [], time.perf_counter()
    for step, (tokens, cu_seqlens) in enumerate(rows_on(device, packed_rows(documents(), length))):
        if step == given.steps or (given.seconds and sum(times) > given.seconds):
            break
        before = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20)
        with half:
            loss = loss_of(run, tokens, cu_seqlens, attention.documents(cu_seqlens))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())  # waits for the device
        times.append(time.perf_counter() - before)
        if step % 20 == 0:
            print(
                f"step {step:5}  {losses[-1] / math.log(2):.3f} bits a byte  {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
    with torch.no_grad(), half:
        unseen = rows_on(device, islice(packed_rows(documents(held_out=True), length, seed=None), given.held_out_rows))
        held_out = statistics.fmean(loss_of(run, *row, attention.documents(row[1])).item() for row in unseen)
    report = {
        "command": ["python", "examples/byte_model/train.py", *(sys.argv[1:] if arguments is None else arguments)],
        "versions": {"torch": torch.__version__},
        "pattern": given.pattern,
        "attention": given.attention,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "length": length,
        "steps": len(losses),
        "first_step_s": times[0],
        "step_s": statistics.median(times[len(times) // 4 :]),
        "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "bits_a_byte": [x / math.log(2) for x in losses],
        "held_out_bits_a_byte": held_out / math.log(2),
    }
    report["tokens_a_second"] = length / report["step_s"]
    print(
        f"{given.pattern} with {given.attention}: {len(losses)} steps, "
        f"{report['tokens_a_second']:,.0f} tokens a second, held out {report['held_out_bits_a_byte']:.3f} bits a byte"
    )
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    if given.save:
        torch.save({"pattern": given.pattern, "shape": shape, "weights": model.state_dict()}, given.save)
    return report


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--pattern", default="local_global", help="a pattern of patterns.spat")
    found.add_argument("--attention", choices=("sparsec", "flex"), default="sparsec")
    found.add_argument("--length", type=int, default=32768, help="tokens in a row, one row a step")
    found.add_argument("--steps", type=int, default=100, help="at most")
    found.add_argument("--seconds", type=float, help="stop after so many seconds of steps")
    found.add_argument("--rate", type=float, help="learning rate")
    found.add_argument("--held-out-rows", type=int, default=4)
    found.add_argument("--tiny", action="store_true", help="a small model on a CPU")
    found.add_argument("--json", type=Path, help="write what was measured to this file")
    found.add_argument("--save", type=Path, help="write the weights to this file")
    return found


if __name__ == "__main__":
    main()
