"""What scores cost: past(4096) with and without them, by turns, beside FlexAttention with the same score_mod.

    python docs/benchmarks/scores.py docs/benchmarks/raw/scores_NAME.json [n] [--alone] [--only "softcap|alibi"]

on a GPU that nobody else uses writes the raw results that table.py draws; with --alone without FlexAttention, whose
kernels are those of Triton and, where `flash_attn.cute` is installed, those of FlashAttention-4.
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from cells import PASSES, ms, pair, rows

_PATTERNS = {
    "none": "pattern p = past(4096)",
    "none, plain tier": "pattern p = past(4096)",
    "sinks": "pattern p = past(4096)",
    "softcap": "pattern p = past(4096) with softcap(50)",
    "softcap of large scores": "pattern p = past(4096) with softcap(50)",
    "alibi": "pattern p = past(4096) with alibi",
    "slopes of a call": "input a: float[H] score sloped = s - a * abs(q - k) pattern p = past(4096) with sloped",
    "dropout": "pattern p = past(4096)",
    "table by distance": "input t: float[H, d] score near = s + t[min(q - k, 127)] pattern p = past(4096) with near",
}
_LARGE = 10  # times the size of other scores, whose variance is 1
_RACED = ("softcap", "softcap of large scores", "alibi")  # with FlexAttention, too
_PEERS = {"flex": "FlexAttention", "flex-flash": "FlexAttention on FA4"}


def is_scores(report: dict) -> bool:
    return "scores" in report


def tables(report: dict) -> Iterator[str]:
    """Lines of Markdown."""
    runs = report["scores"]
    yield "Forward / backward; the gradients of slopes and tables are part of the backward pass.  Dropout is of 0.1.  "
    yield f"Scores have a variance of 1, and large ones are {_LARGE} times as large."
    yield ""
    body = []
    for run in runs:
        name = run["score"] + (f" ({_PEERS[run['racer']]})" if run["racer"] in _PEERS else "")
        body.append([name, f"`{run['text']}`", ms(run), *(pair(_share(run, base), ".3f", " x") for base in runs[:2])])
    yield from rows(["score", "pattern", "ms", "of those without", "of those in the plain tier"], body)


def _share(run: dict, base: dict) -> dict[str, float]:
    """The times of a run as multiples of those of another."""
    return {kind: run["ms"][kind]["median"] / base["ms"][kind]["median"] for kind in PASSES}


def main() -> None:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    import sparsec
    from sparsec.bench.own_peers import plain
    from sparsec.bench.race import Racer, Tensors, race

    path, n = sys.argv[1], next((int(each) for each in sys.argv[2:] if each.isdigit()), 32768)
    only = re.compile(sys.argv[sys.argv.index("--only") + 1]) if "--only" in sys.argv else re.compile(".*")
    heads, size = 16, 128
    generator = torch.Generator(device="cuda").manual_seed(0)
    drawn = [torch.randn(1, heads, n, size, device="cuda", dtype=torch.bfloat16, generator=generator) for _ in range(4)]
    q, k, v = (x.requires_grad_() for x in drawn[:3])
    tensors = Tensors(q, k, v, drawn[3])
    more = {
        "sinks": {"sinks": torch.randn(heads, device="cuda")},
        "slopes of a call": {"a": torch.rand(heads, device="cuda") / 64},
        "table by distance": {"t": torch.randn(heads, 128, device="cuda")},
    }
    dropout = {"dropout_p": 0.1, "dropout_seed": torch.tensor([1], device="cuda")}

    def scale_of(name: str) -> dict[str, float]:
        return {"scale": _LARGE * size**-0.5} if name.endswith("large scores") else {}

    class Own(Racer):
        """Differentiates by the inputs of the call, too."""

        given: dict

        def backward(self, t: Tensors, out: torch.Tensor) -> tuple:
            return torch.autograd.grad(out, (t.q, t.k, t.v, *self.given.values()), t.g)

    def ours(name: str) -> Own:
        attend, given = sparsec.compile(_PATTERNS[name]), more.get(name, {})
        given = {key: x.requires_grad_() for key, x in given.items()}
        more_given = dropout if name == "dropout" else scale_of(name)
        run = plain(attend.pattern.nodes, tensors)[0] if name == "none, plain tier" else attend
        racer = Own(name, lambda q, k, v: run(q, k, v, **given, **more_given))
        racer.given = given
        return racer

    def flex(name: str, backend: str) -> Racer:
        pattern = sparsec.compile(_PATTERNS[name]).pattern
        mask, modified = pattern.block_mask(n, device="cuda"), pattern.score_mod(n, heads, "cuda")
        compiled = torch.compile(flex_attention, dynamic=False)
        options = scale_of(name) | ({"kernel_options": {"BACKEND": backend}} if backend else {})
        return Racer(name, lambda q, k, v: compiled(q, k, v, block_mask=mask, score_mod=modified, **options))

    racers: list[tuple[str, Racer]] = [("ours", ours(name)) for name in _PATTERNS if only.fullmatch(name)]
    if "--alone" not in sys.argv:
        raced = [name for name in _RACED if only.fullmatch(name)]
        racers += [("flex", flex(name, "")) for name in raced]
        if importlib.util.find_spec("flash_attn") and importlib.util.find_spec("flash_attn.cute"):
            racers += [("flex-flash", flex(name, "FLASH")) for name in raced]
    race([racer for _, racer in racers], tensors, 15, 20.0)
    found = []
    for kind, racer in racers:
        times = {each: {"median": statistics.median(some), "all": some} for each, some in racer.ms.items()}
        found.append({"racer": kind, "score": racer.name, "text": _PATTERNS[racer.name], "ms": times})
    report = {
        "command": ["python", *sys.argv],
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__},
        "setting": {"n": n, "heads": heads, "head_size": size, "dtype": "bfloat16"},
        "scores": found,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
    for each in found:
        print(each["racer"], each["score"], ms(each))


if __name__ == "__main__":
    main()
