"""A training step of a Mistral-like model of transformers: sparsec beside FlexAttention, tokens a second, loss, memory.

    python docs/benchmarks/mistral.py docs/benchmarks/raw/mistral/NAME.json [--profile] [--seconds 600]

on a GPU that nobody else uses writes the raw results that table.py draws.  The model is MistralForCausalLM with heads
of 128, four query heads for each key head, a window of 4,096 and weights in bfloat16.  AdamW trains it on the sources
of Python's standard library, a row a step.  All runs begin with the same weights, see the same rows in the same order,
and take turns.  FlexAttention is compiled, and its block mask is made once for all steps.  `sparsec-free-order` is
sparsec with `deterministic=False`: gradients of queries are sums in any order, and differ in their rounding from run to
run, where those of sparsec are the same bit for bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

EXAMPLES = Path(__file__).parents[2] / "examples"
WARM, AT_ONCE = 3, 4  # steps of a run before it is timed, and then before the next run has its turn
VOCABULARY, WINDOW = 32_000, 4096
FREE_ORDER = "sparsec-free-order"


def rows_of(length: int, count: int, device: torch.device) -> list[Tensor]:
    """Rows of tokens [1, length]: bytes of source code."""
    sys.path.insert(0, str(EXAMPLES / "byte_model"))
    from corpus import documents, packed_rows

    return [tokens.to(device) for tokens, _ in islice(packed_rows(documents(), length), count)]


def model_of(given: argparse.Namespace, device: torch.device, attention: str) -> nn.Module:
    """A model with random weights, the same each time."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=given.size,
        intermediate_size=7 * given.size // 2,  # as Mistral 7B has it
        num_hidden_layers=given.layers,
        num_attention_heads=given.size // 128,
        num_key_value_heads=given.size // 512,
        head_dim=128,
        sliding_window=WINDOW,
        max_position_embeddings=given.length,
        use_cache=False,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return MistralForCausalLM(config).to(torch.bfloat16).train()


def flex(
    call: Callable, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float, **rest: Any
) -> tuple[Tensor, None]:
    """FlexAttention as transformers' attention function, without the copy of its result that transformers makes."""
    return call(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True).transpose(1, 2), None


class Run:
    """One model, and what its steps took."""

    def __init__(self, given: argparse.Namespace, rows: list[Tensor], attention: str, compiled: str) -> None:
        from transformers import AttentionInterface

        import sparsec.transformers  # registers "sparsec"

        self.attention, self.compiled, self.rows = attention, compiled, rows
        device, by_flex = rows[0].device, attention == "flex"
        held = memory(device)
        on_gpu = device.type == "cuda"
        call = torch.compile(flex_attention, dynamic=False) if on_gpu and compiled == "nothing" else flex_attention
        AttentionInterface.register(f"flex-{compiled}", partial(flex, call))
        self.model = model_of(given, device, f"flex-{compiled}" if by_flex else "sparsec")
        self.mask = None if by_flex else sparsec.transformers.prepared_masks(self.model, rows[0])
        self.more = {"deterministic": False} if attention == FREE_ORDER else {}
        if by_flex:
            made = torch.compile(create_block_mask) if on_gpu else create_block_mask
            self.mask = made(_window, None, None, given.length, given.length, device)
        if compiled == "layers":
            for layer in self.model.model.layers:
                layer.compile()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=on_gpu
        )
        self.losses: list[float] = []
        self.times: list[float] = []
        self.host: list[float] = []
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM):
            self.step()
        self.peak = (torch.cuda.max_memory_allocated() if on_gpu else 0) - held

    def step(self) -> None:
        tokens = self.rows[len(self.losses)]
        before = time.perf_counter()
        loss = self.model(input_ids=tokens, attention_mask=self.mask, labels=tokens, **self.more).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.host.append(time.perf_counter() - before)
        self.losses.append(loss.item())  # waits for the device
        self.times.append(time.perf_counter() - before)

    def report(self) -> dict:
        timed = self.times[WARM:] or self.times
        median = statistics.median(timed)
        return {
            "attention": self.attention,
            "compiled": self.compiled,
            "tokens_a_second": self.rows[0].numel() / median,
            "step_s": median,
            "steps_s": timed,
            "host_s": statistics.median(self.host[WARM:] or self.host),
            "first_step_s": self.times[0],
            "peak_bytes": self.peak,
            "losses": self.losses,
        }

    def profile(self) -> dict:
        """Milliseconds of the device for one step, by kernel."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            self.step()
            torch.cuda.synchronize()
        self.losses.pop(), self.times.pop(), self.host.pop()
        spent: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        for event in seen.events():
            if event.device_type == torch.autograd.DeviceType.CUDA:
                spent[event.name[:120]][0] += 1
                spent[event.name[:120]][1] += event.time_range.elapsed_us() / 1000
        most = sorted(spent.items(), key=lambda item: -item[1][1])
        total = sum(ms for _, (_, ms) in most)
        return {"attention": self.attention, "compiled": self.compiled, "ms": total, "kernels": most[:40]}


def _window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (k <= q) & (q - k < WINDOW)


def _take_workspaces(device: torch.device) -> None:
    """Has torch keep the memory that products of matrices work in, for this thread and for that of gradients.

    It would count as memory of the first run.
    """
    x = torch.ones(64, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
    (x @ x).sum().backward()


def memory(device: torch.device) -> int:
    return torch.cuda.memory_allocated() if device.type == "cuda" else 0


def main(arguments: list[str] | None = None) -> None:
    begun = time.perf_counter()
    given = parser().parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = rows_of(given.length, given.steps + 2, device)
    _take_workspaces(device)
    report: dict[str, Any] = {
        "command": ["python", "docs/benchmarks/mistral.py", *(sys.argv[1:] if arguments is None else arguments)],
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "length": given.length,
        "window": WINDOW,
        "layers": given.layers,
        "size": given.size,
    }
    finished: list[dict] = []
    for compiled in given.compiled.split(","):
        runs: list[Run] = []
        for attention in given.attentions.split(","):
            runs.append(Run(given, rows, attention, compiled))
            report["parameters"] = sum(x.numel() for x in runs[0].model.parameters())
            _write(given.output, report, finished, runs)
        while len(runs[-1].losses) < given.steps and time.perf_counter() - begun < given.seconds:
            for run in runs:
                for _ in range(min(AT_ONCE, given.steps - len(run.losses))):
                    run.step()
            _write(given.output, report, finished, runs)
        if given.profile:
            report["profiles"] = [*report.get("profiles", []), *(run.profile() for run in runs)]
        finished += [run.report() for run in runs]
        _write(given.output, report, finished, [])
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)


def _write(path: Path, report: dict, finished: list[dict], runs: list[Run]) -> None:
    report["versions"] = {"torch": torch.__version__, "transformers": sys.modules["transformers"].__version__}
    report["runs"] = finished + [run.report() for run in runs]
    path.write_text(json.dumps(report, indent=1) + "\n")
    for line in report["runs"]:
        print(
            f"{line['attention']} {line['compiled']}: {line['tokens_a_second']:,.0f} tokens/s,",
            f"step {1e3 * line['step_s']:.1f} ms, host {1e3 * line['host_s']:.1f} ms,",
            f"first {line['first_step_s']:.1f} s, {line['peak_bytes'] / 1e6:,.1f} MB,",
            f"loss {line['losses'][-1]:.4f} after {len(line['losses'])}",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("output", type=Path, help="a JSON file")
    found.add_argument("--compiled", default="layers,nothing", help="what torch.compile gets beside FlexAttention")
    found.add_argument("--attentions", default=f"sparsec,flex,{FREE_ORDER}", help="whose runs take turns")
    found.add_argument("--layers", type=int, default=24)
    found.add_argument("--size", type=int, default=1024, help="of the hidden states")
    found.add_argument("--length", type=int, default=32_768, help="tokens of a row")
    found.add_argument("--steps", type=int, default=23, help="of each run, at most")
    found.add_argument("--seconds", type=float, default=600, help="begin no further turn after so many")
    found.add_argument("--profile", action="store_true", help="add what each kernel takes in one step")
    return found


if __name__ == "__main__":
    main()
