"""What data of a call costs: a padded batch beside its real tokens, and question tokens beside as many fixed ones.

    python docs/benchmarks/data.py docs/benchmarks/raw/data_NAME.json

on a GPU that nobody else uses writes the raw results that table.py draws.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cells import PASSES, ms, pair, rows

_PADDED = ("causal", "past(1024)")
_TIERS = ("", "plain")  # as SPARSEC_TIER
_BATCH, _LENGTH, _HEADS, _SIZE = 8, 8192, 16, 128
_TOKENS = 32
_SHAPES = ((16384, 12, 64), (32768, 16, 128))  # positions, heads, head size
_WINDOW = 512


def is_data(report: dict) -> bool:
    return "data" in report


def tables(report: dict) -> Iterator[str]:
    """Lines of Markdown."""
    yield "Forward / backward; times of a row's first line are those that the others are multiples of."
    yield ""
    body = []
    for case in report["data"]:
        first = case["racers"][0]
        for racer in case["racers"]:
            share = {kind: racer["ms"][kind]["median"] / first["ms"][kind]["median"] for kind in PASSES}
            text = racer["text"].replace("|", "\\|")
            body.append([case["case"], f"`{text}`", racer["name"], ms(racer), pair(share, ".3f", " x")])
    yield from rows(["case", "pattern", "call", "ms", "of the first"], body)


def main() -> None:
    import torch

    import sparsec
    from sparsec.bench.race import Racer, Tensors, race

    path = sys.argv[1]

    def drawn(batch: int, heads: int, n: int, size: int) -> Tensors:
        generator = torch.Generator(device="cuda").manual_seed(0)
        shape = batch, heads, n, size
        q, k, v, g = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=generator) for _ in range(4))
        return Tensors(q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), g)

    class Calls(Racer):
        """An operator on tensors of its own: each of its calls in turn."""

        text: str
        calls: list[tuple[Callable[..., torch.Tensor], Tensors]]

        def forward(self, t: Tensors) -> Any:
            return [run(own.q, own.k, own.v) for run, own in self.calls]

        def backward(self, t: Tensors, out: Any) -> Any:
            return [
                torch.autograd.grad(each, (own.q, own.k, own.v), own.g)
                for each, (_, own) in zip(out, self.calls, strict=True)
            ]

    def racer(name: str, text: str, *calls: tuple[Callable[..., torch.Tensor], Tensors]) -> Calls:
        made = Calls(name, sparsec.compile)
        made.text, made.calls = text, [*calls]
        return made

    found: list[dict] = []

    def measure(case: str, racers: Sequence[Calls]) -> None:
        race([*racers], racers[0].calls[0][1], 15, 10.0)
        of_racers = []
        for each in racers:
            times = {kind: {"median": statistics.median(some), "all": some} for kind, some in each.ms.items()}
            of_racers.append({"name": each.name, "text": each.text, "ms": times})
        found.append({"case": case, "racers": of_racers})
        report = {
            "command": ["python", *sys.argv],
            "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "device": torch.cuda.get_device_name(),
            "versions": {"torch": torch.__version__},
            "data": found,
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
        for facts in of_racers:
            print(case, facts["text"], facts["name"], ms(facts), flush=True)

    def question_tokens(n: int, heads: int, size: int) -> None:
        tensors = drawn(1, heads, n, size)
        fixed_text, text = f"window({_WINDOW}) | global({_TOKENS})", f"window({_WINDOW}) | cls[q] | cls[k]"
        fixed = sparsec.compile(f"pattern fixed = {fixed_text}")
        attend = sparsec.compile(f"input cls: bool[n] pattern question_tokens = {text}")
        first = torch.arange(n, device="cuda") < _TOKENS
        spread = first[torch.randperm(n, generator=torch.Generator().manual_seed(0)).cuda()]

        def given(cls: torch.Tensor) -> tuple[Callable[..., torch.Tensor], Tensors]:
            return lambda q, k, v: attend(q, k, v, cls=cls), tensors

        racers = [racer("fixed", fixed_text, (fixed, tensors))]
        racers += [racer(f"the first {_TOKENS} tokens", text, given(first))]
        racers += [racer(f"{_TOKENS} tokens anywhere", text, given(spread))]
        measure(f"question tokens, {n:,} positions, {heads} heads of size {size}", racers)

    def padded(text: str, tier: str) -> None:
        os.environ.pop("SPARSEC_TIER", None)
        if tier:
            os.environ["SPARSEC_TIER"] = tier
        attend = sparsec.compile(f"pattern padded_{tier} = {text}")
        lengths = torch.randint(256, _LENGTH + 1, (_BATCH,), generator=torch.Generator().manual_seed(1))
        lengths[0] = _LENGTH
        offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int().cuda()
        on_device = lengths.int().cuda()
        whole = drawn(_BATCH, _HEADS, _LENGTH, _SIZE)

        def rows_of(x: torch.Tensor) -> list[torch.Tensor]:
            return [x.detach()[row : row + 1, :, :length] for row, length in enumerate(lengths.tolist())]

        def of_rows(make: Callable[[list[torch.Tensor]], torch.Tensor]) -> Tensors:
            q, k, v, g = (make(rows_of(x)).contiguous() for x in (whole.q, whole.k, whole.v, whole.g))
            return Tensors(q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), g)

        in_one_row = of_rows(lambda some: torch.cat(some, 2))
        alone = [of_rows(lambda some, row=row: some[row]) for row in range(_BATCH)]  # type: ignore[misc]
        racers = [
            racer("its tokens, packed", text, (lambda q, k, v: attend(q, k, v, documents=offsets), in_one_row)),
            racer("its rows, one by one", text, *((attend, own) for own in alone)),
            racer("padded", text, (lambda q, k, v: attend(q, k, v, lengths=on_device), whole)),
            racer("all rows full", text, (attend, whole)),
        ]
        share = int(lengths.sum()) / (_BATCH * _LENGTH)
        measure(f"{_BATCH} rows of {_LENGTH:,}, {share:.0%} real tokens{', plain tier' * (tier == 'plain')}", racers)
        os.environ.pop("SPARSEC_TIER", None)

    for shape in _SHAPES:
        question_tokens(*shape)
    for tier in _TIERS:
        for text in _PADDED:
            padded(text, tier)


if __name__ == "__main__":
    main()
