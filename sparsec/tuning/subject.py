"""A generated module on a GPU whose kernels can be given other settings."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sparsec.bench.race import Clock, synchronize
from sparsec.bench.setting import DTYPES, inputs
from sparsec.bench.setting import Setting as Shapes
from sparsec.cache.records import digest, environment, module_name
from sparsec.codegen.emit import emit, kernels_of
from sparsec.codegen.shape import named_shapes
from sparsec.codegen.tuned import Place
from sparsec.diagnostics import EnvironmentLacks, SparsecError
from sparsec.kernels.machine.hardware import device_tier
from sparsec.kernels.machine.settings import SETTINGS, Setting
from sparsec.kernels.passes.backward import backward_gpu, backward_inputs, prepared_backward
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.pipeline import Compiled
from sparsec.plan.nodes import Plan
from sparsec.runtime.module import module
from sparsec.testing.verify import device_name
from sparsec.tuning.tune import GpuLost

Value = TypeVar("Value")

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LEAST_BOUND = 1e-4  # of relative differences; 2 roundings where these are coarser
_LARGEST = 8  # times that, of one number relative to the largest


def kinds(plan: Plan, n: int) -> dict[str, tuple[str, str]]:
    """(kind, shape) of the kernels of a plan for n keys, by their names in the module."""
    return {name: (kernel, word) for name, kernel, word in named_shapes(plan, kernels_of(plan).groups, n)}


def usual(made: Compiled, shapes: Shapes, device: torch.device) -> dict[tuple[str, str], Setting]:
    """(kind, shape) of the kernels that a device would run, with the usual settings; nothing is run for it."""
    width, size = DTYPES[shapes.dtype].itemsize, max(16, 1 << (shapes.head_size - 1).bit_length())
    tier = device_tier(device, width)
    own = {} if tier == "small" or width == 4 else {layout: layout for layout in ("listed", "grouped")}
    return {
        (kernel, word): getattr(SETTINGS[own.get(word.partition(".")[0], tier), width, size], kernel)
        for kernel, word in kinds(made.plan, shapes.n).values()
    }


def opener(made: Compiled, shapes: Shapes, device: torch.device) -> Callable[[], GpuSubject]:
    """Opens a pattern when its turn comes.  SparsecError SP0705 where the GPU's memory is too small for it."""

    def opened() -> GpuSubject:
        gc.collect()  # the subject before refers to itself, and holds tensors
        try:
            return GpuSubject(made, shapes, device)
        except torch.OutOfMemoryError:
            lacking = "more memory than this GPU has left"
            raise SparsecError(
                EnvironmentLacks(wanted=f"n = {shapes.n:,}", lacking=lacking, hint="a smaller --n or --heads")
            ) from None

    return opened


class _Chosen(dict):
    """A module's tuned settings, and which were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[tuple, None] = {}

    def get(self, key: Any, default: Any = None, /) -> Any:
        self.asked[key] = None
        return super().get(key, default)


class GpuSubject:
    """See sparsec.tuning.tune.Subject.  Opening it compiles and runs the kernels with the usual settings."""

    def __init__(self, made: Compiled, shapes: Shapes, device: torch.device) -> None:
        self.name, self.device = made.pattern.name, device
        self.words = kinds(made.plan, shapes.n)
        text = emit(made.plan)
        self.digest = digest(repr((text, shapes, device_name(device), environment())).encode())
        self.chosen = _Chosen()
        generated = module(text, module_name("tuned", digest(text.encode())))
        self.program = replace(generated._PROGRAM, tuned=self.chosen, compiled={}, passes={})
        given = inputs(shapes, device)
        self.tensors = [x.detach() for x in (given.q, given.k, given.v, given.g)]
        self.scale = shapes.head_size**-0.5
        self.usual = self._results()
        self.calls = self._calls()
        self.keys: dict[Place, list[tuple]] = {}
        for key in self.chosen.asked:
            self.keys.setdefault(self._place(key), []).append(key)
        self.spills = {place: self._spilled(place) for place in self.keys}
        self.clock = Clock(device)
        self.clock.calibrate(max(self.clock(call)[2] for call in self.calls.values()))

    def kernels(self) -> Mapping[Place, Setting]:
        """What it runs, with the usual settings."""
        found = {}
        for place, (key, *_) in self.keys.items():
            _, tier, dtype, size, _ = key
            found[place] = getattr(SETTINGS[tier, dtype.itemsize, size], place.kernel)
        return found

    def refusal(self, place: Place, setting: Setting) -> str | None:
        """Why a setting is not to be had.  GpuLost."""
        self._forget(place)
        try:
            results = self._with(place, setting, self._results)
            synchronize(self.device)
        except Exception as error:
            try:
                synchronize(self.device)
            except Exception:
                raise GpuLost(place, setting) from None
            return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        if (spills := self._spilled(place)) > self.spills[place]:
            return f"it spills {spills} registers"
        for name, got, wanted in zip(("out", "lse", "dq", "dk", "dv"), results, self.usual, strict=True):
            if (difference := _difference(got, wanted)) > 1:
                return f"its {name} differs {difference:.1f} times as much as it may"
        return None

    def turn(self, place: Place, setting: Setting) -> float:
        """ms of one run of the kernels of a kind."""
        return self._with(place, setting, lambda: self.clock(self.calls[place.kernel])[1])

    def _with(self, place: Place, setting: Setting, run: Callable[[], Value]) -> Value:
        self.chosen.update(dict.fromkeys(self.keys[place], setting))
        self.program.passes.clear()
        try:
            return run()
        finally:
            self.chosen.clear()
            self.program.passes.clear()

    def _results(self) -> list[Tensor]:
        """out, lse, dq, dk, dv."""
        q, k, v, g = self.tensors
        call = Call(q, k, v, self.scale)
        out, lse = forward_gpu(self.program, call)
        return [out, lse, *backward_gpu(self.program, call, Upstream(g, out, lse))]

    def _calls(self) -> dict[str, Callable[[], object]]:
        """The launches of each kind alone, on what a whole pass leaves them."""
        q, k, v, g = self.tensors
        call = Call(q, k, v, self.scale)
        out, lse = forward_gpu(self.program, call)
        env = backward_inputs(call, Upstream(g, out, lse))
        prepared_backward(self.program, env, 0).one_by_one(env)
        return {
            "forward": lambda: forward_gpu(self.program, call),
            "dq": lambda: prepared_backward(self.program, env, 0).only("dq", env),
            "dkdv": lambda: prepared_backward(self.program, env, 0).only("dkdv", env),
        }

    def _place(self, key: tuple) -> Place:
        gpu, tier, dtype, size, name = key
        return Place(gpu, tier, _NAMES[dtype], size, *self.words[name])

    def _compiled(self, place: Place) -> list[tuple]:
        names = {key[-1] for key in self.keys[place]}
        return [key for key in self.program.compiled if key[0] in names]

    def _forget(self, place: Place) -> None:
        for key in self._compiled(place):
            del self.program.compiled[key]

    def _spilled(self, place: Place) -> int:
        """Registers that the kernels compiled last spill, at most."""
        return max((self.program.compiled[key].n_spills or 0 for key in self._compiled(place)), default=0)


def _difference(got: Tensor, wanted: Tensor) -> float:
    """How far results are from others, 1 being what rounding may do; equal infinities are no difference."""
    bound = max(2 * torch.finfo(got.dtype).eps, _LEAST_BOUND)
    apart = torch.where(got == wanted, 0.0, (got.float() - wanted.float()).abs())
    size = wanted.float().nan_to_num(posinf=0.0, neginf=0.0)
    norms = (apart.norm() / size.norm().clamp(min=1e-30)).item()
    largest = (apart.max() / size.abs().max().clamp(min=1e-30)).item()
    found = max(norms, largest / _LARGEST) / bound
    return found if found == found else float("inf")
