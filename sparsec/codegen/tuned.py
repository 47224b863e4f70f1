"""Settings that were measured to be faster than the table's, by GPU, type, head size and kind of kernel.

JSON files hold them (sparsec.codegen.tuned_files); `sparsec tune` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sparsec.kernels.machine.settings import KERNELS, Setting

FORMAT = 1

_TORCH = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a setting is for.  `head_size` is rounded up to a power of two; `shape` is sparsec.codegen.shape's word."""

    gpu: str  # as torch.cuda.get_device_name says
    tier: str  # of sparsec.kernels.machine.settings
    dtype: str
    head_size: int
    kernel: str
    shape: str


@dataclass(frozen=True)
class Tuned:
    """Settings by place, and what was noted of how they were measured (plain data)."""

    settings: Mapping[Place, Setting] = field(default_factory=dict)
    measured: Mapping[Place, dict] = field(default_factory=dict)

    def over(self, other: Tuned) -> Tuned:
        """These, and those of `other` for places that are not here."""
        lower = other.settings.keys() - self.settings.keys()
        below = {place: note for place, note in other.measured.items() if place in lower}
        return Tuned({**other.settings, **self.settings}, {**below, **self.measured})

    def rendered(self) -> str:
        """The text of a file, in an order of its own; a line for each place."""
        lines = [json.dumps(self._entry(place)) for place in sorted(self.settings, key=_order)]
        listed = ",\n".join(f"  {line}" for line in lines)
        return f'{{"format": {FORMAT}, "settings": [\n{listed}\n]}}\n' if lines else EMPTY

    def table(self, kernels: Iterable[tuple[str, str, str]]) -> str:
        """`_TUNED` of a module as Python text, from (name, kind, shape) of its kernels; "" where nothing is tuned."""
        lines = [
            f'    ("{place.gpu}", "{place.tier}", {_TORCH[place.dtype]}, {place.head_size}, "{name}"): '
            f"{self.settings[place]},"
            for name, kind, word in kernels
            for place in sorted(self.settings, key=_order)
            if (place.kernel, place.shape) == (kind, word)
        ]
        head = "# (GPU, tier, type, head size, kernel) -> what was measured to be faster there than the table's setting"
        return "\n".join([head, "_TUNED = {", *lines, "}"]) if lines else ""

    def _entry(self, place: Place) -> dict:
        entry = {name: getattr(place, name) for name in Place.__slots__} | {"setting": self.settings[place]}
        return entry | ({"measured": self.measured[place]} if place in self.measured else {})


EMPTY = f'{{"format": {FORMAT}, "settings": []}}\n'


def _order(place: Place) -> tuple:
    return place.gpu, place.tier, place.dtype, place.head_size, place.shape, KERNELS.index(place.kernel)
