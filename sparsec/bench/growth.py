"""What operators took at the lengths so far, and from that whether a longer one is worth trying.

Between the last two lengths a cost grew like a power of n; that power, but no less than 1 and no more than 2, is taken
to hold for the next.  After one length alone it is 2.
"""

from __future__ import annotations

from collections import defaultdict
from math import log

import torch

from sparsec.bench.race import FEWEST_TURNS

MOST_SECONDS = {"ours": 60.0}  # that the fewest turns of a race may take an operator
_PEERS_SECONDS = 10.0
_SHARE = 0.95  # of the GPU's memory
_OUT_OF_MEMORY = torch.OutOfMemoryError.__name__


class Growth:
    """The rounds of one pattern, by rising length."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.bytes: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.ended: dict[str, str] = {}
        self.checked = 0  # the longest n that was compared with dense attention

    def note(self, run: dict) -> None:
        """Take over what a run of `bench` found; a run that has no times tells nothing."""
        n = run["n"]
        self.checked = n if "errors" in run else self.checked
        for name, facts in run.get("racers", {}).items():
            turn = sum(times["median"] for times in facts["ms"].values()) / 1000
            self.seconds[name].append((n, turn * FEWEST_TURNS + 3 * facts.get("mask_s", 0.0)))
            if facts["peak_bytes"] is not None:
                at_rest = facts["peak_bytes"] + facts.get("mask_bytes", 0)
                self.bytes[name].append((n, max(at_rest, facts.get("mask_peak_bytes", 0))))
        for name, note in {"ours": run.get("failed", ""), **run.get("notes", {})}.items():
            if _OUT_OF_MEMORY in note:
                self.ended[name] = f"skipped: it ran out of memory at n = {n:,}"

    def too_much(self, name: str, n: int, room: int | None) -> str | None:
        """Why an operator is not run at a longer n; `room`: bytes of memory for it, None where that is not measured."""
        if name in self.ended:
            return self.ended[name]
        seconds, most = power(self.seconds[name], n), MOST_SECONDS.get(name, _PEERS_SECONDS)
        if seconds is not None and seconds > most:
            return f"skipped: it would take some {seconds:.0f} s, more than {most:.0f} s{self._since(name)}"
        wanted = power(self.bytes[name], n)
        if wanted is not None and room is not None and wanted > room:
            return (
                f"skipped: it would take some {wanted / 1e9:.3g} GB, more than the {room / 1e9:.3g} GB "
                f"beside the inputs{self._since(name)}"
            )
        return None

    def _since(self, name: str) -> str:
        return f", going by n = {' and '.join(f'{n:,}' for n, _ in self.seconds[name][-2:])}"


def power(points: list[tuple[int, float]], n: int) -> float | None:
    """The value at a longer n of what was measured at `points`; None where there are none."""
    if not points:
        return None
    last, value = points[-1]
    exponent = 2.0
    if len(points) > 1 and value and points[-2][1]:
        before, earlier = points[-2]
        exponent = min(2.0, max(1.0, log(value / earlier) / log(last / before)))
    return value * (n / last) ** exponent


def room(device: torch.device, inputs: int) -> int | None:
    """Bytes that an operator may take beside its inputs; None on a CPU, where memory is not measured."""
    if device.type != "cuda":
        return None
    return int(_SHARE * torch.cuda.get_device_properties(device).total_memory) - inputs
