"""Queries and keys of a model's layers, in a file of safetensors: `layers.0.q`, `layers.0.k`, `layers.1.q`, ..."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsec.diagnostics import CannotRead, EnvironmentLacks, SparsecError

_NAME = re.compile(r"layers\.(\d+)\.([qk])")


@dataclass(frozen=True)
class Shape:
    """Of q [B, H, n_q, D] and k [B, H_kv, n, D]; the same in all layers but for B, H_kv and D."""

    heads: int
    n_q: int
    n: int


@dataclass(frozen=True)
class Captured:
    """A file of captured tensors; `scales` are those of its metadata, by layer, D ** -0.5 where there is none."""

    path: Path
    layers: tuple[int, ...]
    shape: Shape
    scales: dict[int, float]

    def read(self, layer: int, device: torch.device) -> tuple[Tensor, Tensor, float | None, str]:
        """q and k on a device, in float32 on a CPU; the scale; and a digest of all three."""
        tensors = [self._tensor(f"layers.{layer}.{part}") for part in "qk"]
        scale = self.scales.get(layer)
        digest = hashlib.sha256(repr((scale, [(x.dtype, x.shape) for x in tensors])).encode())
        for x in tensors:
            digest.update(x.contiguous().view(torch.uint8).numpy())
        q, k = (x.to(device, torch.float32 if device.type == "cpu" else x.dtype) for x in tensors)
        return q, k, scale, digest.hexdigest()

    def _tensor(self, name: str) -> Tensor:
        with _opened(self.path) as file:
            return file.get_tensor(name)


def captured(path: Path) -> Captured:
    """The file, its names and shapes checked.  SparsecError where it is none, or holds other things."""
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    found = {(int(match[1]), match[2]): shape for name, shape in shapes.items() if (match := _NAME.fullmatch(name))}
    layers = tuple(sorted({layer for layer, _ in found}))
    if strange := sorted(name for name in shapes if not _NAME.fullmatch(name)):
        raise _refused(path, f"`{strange[0]}` is neither `layers.I.q` nor `layers.I.k`")
    if not layers:
        raise _refused(path, "it holds no `layers.I.q` and `layers.I.k`")
    for layer in layers:
        for part in "qk":
            if (layer, part) not in found:
                raise _refused(path, f"`layers.{layer}.{part}` is missing")
            if len(found[layer, part]) != 4:
                raise _refused(path, f"`layers.{layer}.{part}` is not [B, H, n, D], but {list(found[layer, part])}")
        q, k = found[layer, "q"], found[layer, "k"]
        if q[0] != k[0] or q[3] != k[3] or not k[1] or q[1] % k[1] or q[2] > k[2]:
            raise _refused(path, f"q and k of layer {layer} do not fit each other: {list(q)} and {list(k)}")
    sizes = {layer: Shape(found[layer, "q"][1], found[layer, "q"][2], found[layer, "k"][2]) for layer in layers}
    if len(set(sizes.values())) > 1:
        raise _refused(path, "layers differ in their numbers of heads or positions")
    return Captured(
        path, layers, sizes[layers[0]], {layer: x for layer in layers if (x := _scale(metadata, layer, path))}
    )


def _scale(metadata: dict[str, str], layer: int, path: Path) -> float | None:
    name = f"layers.{layer}.scale"
    if name not in metadata:
        return None
    try:
        return float(metadata[name])
    except ValueError:
        raise _refused(path, f"`{name}` of its metadata is no number") from None


def _opened(path: Path):
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        hint = "`pip install safetensors`"
        raise SparsecError(EnvironmentLacks(wanted="`sparsec fit`", lacking="safetensors", hint=hint)) from None
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise _refused(path, getattr(error, "strerror", None) or "no file of safetensors") from None


def _refused(path: Path, reason: str) -> SparsecError:
    return SparsecError(CannotRead(name=str(path), reason=reason[:1].lower() + reason[1:]))
