"""A decoding step: its arguments, checked once for each set of shapes, and the path of its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.decode.checks import checked_step, is_readable
from sparsec.kernels.decode.cpu import RowStep, decode_cpu
from sparsec.kernels.decode.gpu import PreparedStep, environment_of, prepared_step
from sparsec.kernels.decode.pages import Pages
from sparsec.kernels.decode.program import Steps
from sparsec.kernels.decode.step_work import StepWork
from sparsec.kernels.dispatch.watched import likeness
from sparsec.kernels.launches.launch import Environment, Meta
from sparsec.kernels.launches.scratch import like_of
from sparsec.kernels.launches.whole_call import Whole, in_c, whole_call
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.program.checks import checked_flag, number_of
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.positions import looks
from sparsec.kernels.weights.sinks import checked_sinks

_MOST_CALLS = 128  # whose checks are remembered
_GIVEN = "Q", "K", "V", "LENGTHS", "PAGES", "SINKS", "WORK"  # tensors of a call that is found in C, in this order


class Decoder:
    """The decoding steps of a pattern, beside the program that its attention runs."""

    def __init__(self, steps: Steps, program: Program, heads: int | None) -> None:
        """`heads`: the number of query heads that the pattern is compiled for."""
        if program.inputs:
            cure = "call attend(q, k, v, lengths=..., **inputs)"
            raise ValueError(f"[SP0623] a step can't read data of the call (input `{program.inputs[0].name}`): {cure}")
        if steps.drawn_anew:
            cure = "draw from the past, random_past_blocks, or call attend(q, k, v)"
            raise ValueError(f"[SP0623] random choices among all keys are others at every length: {cure}")
        self.steps, self.program, self.heads = steps, program, heads
        self.known: dict[tuple, tuple[PreparedStep, float]] = {}
        self.last: LastStep | None = None
        self.row: RowStep | None = None

    def __call__(
        self, q: Any, k: Any, v: Any, lengths: Any, pages: Any, sinks: Any, scale: Any, out: Any, return_lse: bool,
        work: Any = None,
    ) -> Any:  # fmt: skip
        """As `Attend.decode`."""
        return_lse = checked_flag("return_lse", return_lse)
        if work is not None:
            if not isinstance(work, StepWork):
                raise ValueError(f"[SP0612] work must be what attend.work(lengths) returns, got {type(work).__name__}")
            work.check(lengths)
        given = scale, return_lse, torch.is_grad_enabled()
        last, row = self.last, self.row  # once: other threads may call
        short = row is not None and out is None and pages is None and sinks is None
        if short and (made := row(q, k, v, lengths, given)) is not None:  # type: ignore[misc]
            return made
        if out is None and last is not None and not looks():
            tensors = last.served(q, k, v, lengths, pages, sinks, work, given)
            if tensors and (made := last(*tensors)) is not None:
                return made
        signature = _signature(q, k, v, lengths, pages, sinks, scale, out, return_lse, work is not None)
        known = self.known.get(signature) if signature else None
        if known and not (q.data_ptr() | k.data_ptr() | v.data_ptr() | (0 if out is None else out.data_ptr())) % 16:
            step, number = known
            env = _environment_of_step(step, q, k, v, lengths, Pages.of(pages, k), sinks, number, work)
            if out is None and q.dtype != torch.float32 and not isinstance(pages, tuple):
                if last is None or last.step is not step or last.given != given:
                    self.last = LastStep(step, env["scale_log2"], given)
                elif last.alike is None and last.step.run.direct:  # the second time in a row
                    last.compare_later(env)
            return _results(step, env, q, _room_for_step(q, v) if out is None else out, return_lse)
        paged = checked_step(q, k, v, lengths, pages, out, self.heads, self.steps.most_positions)
        number = q.shape[-1] ** -0.5 if scale is None else number_of(scale)
        rows = q if q.dim() == 4 else q[:, None]
        sinks = checked_sinks(sinks, rows.transpose(1, 2))
        if q.numel() == 0 or k.numel() == 0:
            result = (_room_for_step(q, v) if out is None else out).zero_()
            lse = q.new_full(q.shape[:-1], float("-inf"), dtype=torch.promote_types(q.dtype, torch.float32))
            return (result, lse) if return_lse else result
        with torch.no_grad():
            if _on_cpu(q):
                found, lse = decode_cpu(self.steps, self.program, rows, k, v, lengths, paged, sinks, number)
                if rows is not q and out is None and pages is None and sinks is None:
                    self.row = RowStep(self.steps, q, k, v, lengths, number, given)
                found = found.reshape(*q.shape[:-1], v.shape[3])
                found = found if out is None else out.copy_(found)
                return (found, lse.reshape(q.shape[:-1])) if return_lse else found
            return self._launched(signature, q, rows, k, v, lengths, paged, sinks, number, out, return_lse, work)

    def _launched(
        self, signature: tuple | None, q: Tensor, rows: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages,
        sinks: Tensor | None, scale: float, out: Tensor | None, return_lse: bool, work: StepWork | None,
    ) -> Any:  # fmt: skip
        """The step of checked GPU tensors."""
        readable = _readable(rows)
        if scale <= 0:  # kernels take the maximum before scaling
            readable, scale = (-readable, -scale) if scale else (readable * 0, 1.0)
        as_given = readable is rows and lengths.is_contiguous() and (sinks is None or sinks.is_contiguous())
        own_sinks = None if sinks is None else sinks[0].contiguous()
        to = out if out is not None and is_readable(out) else q.new_empty(*q.shape[:-1], v.shape[3])
        shaped = to if to.dim() == 4 else to[:, None]
        lengths = lengths.contiguous()
        shared = work is not None
        step = prepared_step(self.steps, readable, k, v, lengths, pages, own_sinks, shaped, return_lse, shared)
        if signature and as_given and (to is out or (out is None and q.is_contiguous())):
            while len(self.known) >= _MOST_CALLS:
                self.known.pop(next(iter(self.known)), None)
            self.known[signature] = step, scale
        found = _results(
            step, _environment_of_step(step, readable, k, v, lengths, pages, own_sinks, scale, work), q, to, return_lse
        )
        if out is None or to is out:
            return found
        out.copy_(to)
        return (out, found[1]) if return_lse else out


def _environment_of_step(
    step: PreparedStep, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages, sinks: Tensor | None,
    scale: float, work: StepWork | None,
) -> Environment:  # fmt: skip
    """What a step takes of a call, but for OUT."""
    env = environment_of(q, k, v, lengths, pages, sinks, scale)
    if step.sums is not None and work is not None:
        env["WORK"] = work.sums(step.sums)
    return env


def _results(step: PreparedStep, env: Environment, q: Tensor, out: Tensor, return_lse: bool) -> Any:
    """What a call returns, once the step has filled it in."""
    env["OUT"] = out
    step.run(env)
    return (out, env["LSE"].view(q.shape[:-1])) if return_lse else out


class LastStep:
    """The last call: most calls differ from it in the values of their tensors, and in which tensors these are."""

    def __init__(self, step: PreparedStep, scale_log2: float, given: tuple) -> None:
        """`given`: scale, return_lse, and whether gradients are enabled."""
        self.step, self.scale_log2, self.given = step, scale_log2, given
        self.alike: Callable[..., bool] | None = None  # whether tensors are like those of the call
        self.no_pages = self.no_sinks = True
        self.whole: Whole | None = None  # the step as one function in C

    def compare_later(self, env: Environment) -> None:
        """Has tensors of later calls compared with these in C, and their step found there."""
        tensors = {name: env[name] for name in _GIVEN if name in env}
        self.no_pages, self.no_sinks = "PAGES" not in env, "SINKS" not in env
        q, v = env["Q"], env["V"]
        out = Meta.contiguous((*q.shape[:-1], v.shape[3]), q.dtype, q.device)
        made = {"OUT": like_of(out)}
        if self.given[1]:
            made["LSE"] = like_of(Meta.contiguous(tuple(q.shape[:-1]), torch.float32, q.device))
        given = {name: place for place, name in enumerate(tensors)}
        self.whole = whole_call(self.step.run, given, {"scale_log2": self.scale_log2}, made)
        if self.whole is not None:
            self.alike = likeness(*tensors.values())

    def served(
        self, q: Any, k: Any, v: Any, lengths: Any, pages: Any, sinks: Any, work: StepWork | None, given: tuple
    ) -> tuple | None:
        """The tensors of a call with the same step; None for others."""
        if self.alike is None or given != self.given:
            return None
        if (pages is None) != self.no_pages or (sinks is None) != self.no_sinks:
            return None
        if (self.step.sums is None) != (work is None):
            return None
        tensors: tuple = q, k, v, lengths
        if pages is not None:
            tensors += (pages,)
        if sinks is not None:
            tensors += (sinks,)
        if work is not None:
            if (sums := work.made.get(self.step.sums)) is None:
                return None
            tensors += (sums,)
        return tensors if self.alike(*tensors) else None

    def __call__(self, *tensors: Tensor) -> Any:
        """The step of such a call; None where it is not to be had from C."""
        return self.whole(*tensors) if in_c(self.whole, self.step.run.device) else None  # type: ignore[misc]


def _room_for_step(q: Tensor, v: Tensor) -> Tensor:
    """Room for the result: a tensor like q, with the head size of v."""
    return torch.empty_like(q) if q.shape[-1] == v.shape[3] else q.new_empty(*q.shape[:-1], v.shape[3])


def _signature(*given: Any) -> tuple | None:
    """All that the checks and launches of a call on a GPU depend on; None for other calls."""
    q, k, v, lengths, pages, sinks, scale, out, return_lse, shared = given
    if looks() or type(q) is not Tensor or _on_cpu(q) or type(scale) not in (float, type(None)):
        return None
    tensors = [q, k, v, lengths, sinks, out, *(pages if type(pages) is tuple else (pages,))]
    kinds: list[Any] = []
    for x in tensors:
        if x is None:
            kinds.append(None)
        elif type(x) is not Tensor or (x.requires_grad and torch.is_grad_enabled()):
            return None
        else:
            kinds += x.shape, x.stride(), x.dtype, x.device
    if sinks is not None and sinks.dtype != torch.float32:
        return None
    return *kinds, len(tensors), scale, return_lse, shared, dot_precision(q.dtype)


def _on_cpu(q: Tensor) -> bool:
    return q.device.type == "cpu"


def _readable(x: Tensor) -> Tensor:
    """The tensor, or a copy of it that kernels can read."""
    return x if is_readable(x) else x.clone(memory_format=torch.contiguous_format)
