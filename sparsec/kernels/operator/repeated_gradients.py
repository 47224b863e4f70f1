"""Calls like one before whose gradients are asked for: prepared kernels in a function that autograd knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.dispatch.derivatives import Passes, other_gradients, single_level
from sparsec.kernels.dispatch.watched import likeness, watched, watched_beside_dispatcher
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Environment, Pass
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_contiguous, as_readable
from sparsec.kernels.operator.known_call import KnownCall
from sparsec.kernels.passes.backward import prepared_backward

_SINKS = 6  # place of the sinks among the arguments of the function
_MOST_WAYS = 16  # ways in which gradients come to one call


def repeatable(passes: Passes) -> Callable:
    """The forward pass of a known call, as autograd has it: float inputs come last, one by one."""

    class RepeatedAttention(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            known: KnownCall,
            env: Environment,
            inputs: Sequence[Tensor],
            q: Tensor,
            k: Tensor,
            v: Tensor,
            sinks: Tensor | None,
            *reals: Tensor,
        ) -> Any:
            known.forward(env)
            out, lse = env["OUT"], env["LSE"]
            ctx.known, ctx.inputs = known, len(inputs)
            ctx.save_for_backward(q, k, v, sinks, out, lse, env.get("SEQUENCES"), *inputs, *reals)
            ctx.set_materialize_grads(False)
            return out, lse

        @staticmethod
        def backward(ctx: Any, g: Tensor | None, dlse: Tensor | None) -> Any:
            q, k, v, sinks, out, lse, table, *data = ctx.saved_tensors
            known, needs = ctx.known, ctx.needs_input_grad
            started = torch.zeros_like(out) if g is None else g, q, k, v, out, lse, dlse, table
            made = _by_prepared(known, started, data, needs)
            if made and not any(needs[_SINKS:]):
                return None, None, None, *made, *(None,) * (1 + len(data) - ctx.inputs)
            inputs, reals = known.spread(data[: ctx.inputs]), data[ctx.inputs :]
            given = *started, inputs, known.scale, known.q_offset, None, 0.0, known.deterministic, reals
            if not made:
                made = (passes.backward_op if torch.is_grad_enabled() else passes.backward)(*given)
                _keep_prepared(known, started, data, needs)
            others = other_gradients(passes, given, sinks, needs[_SINKS], any(needs[_SINKS + 1 :]))
            return None, None, None, *made, *others

    return single_level(RepeatedAttention)


class Gradients(NamedTuple):
    """The backward pass of a known call, prepared."""

    run: Pass
    alike: Callable[..., bool]  # whether the tensors that it starts from are like those that it was prepared for


def _by_prepared(known: KnownCall, started: tuple, data: Sequence[Tensor], needs: tuple) -> tuple | None:
    """The gradients of q, k and v; None where nothing is prepared, or somebody watches."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return None
    found = known.backward.get(_key(known, started, needs))
    if not found or watched_beside_dispatcher() or not found.alike(*_tensors(started, data)):
        return None
    env = _environment(known, started)
    if env is None:
        return None
    if data:
        env |= known.for_kernels(data)
    found.run(env)
    return env["DQ"], env["DK"], env["DV"]


def _keep_prepared(known: KnownCall, started: tuple, data: Sequence[Tensor], needs: tuple) -> None:
    """Keeps what later passes need that start from such tensors."""
    key = _key(known, started, needs)
    if torch.is_grad_enabled() or watched() or key in known.backward or len(known.backward) >= _MOST_WAYS:
        return
    env, alike = _environment(known, started), likeness(*_tensors(started, data))
    if env is not None and alike is not None:
        env |= for_kernels(known.program, known.spread(data), known.positions, known.length)
        run = prepared_backward(known.program, env, known.offset_of_kernels, deterministic=known.deterministic)
        known.backward[key] = Gradients(run, alike)


def _key(known: KnownCall, started: tuple, needs: tuple) -> tuple:
    g, *_, dlse, _ = started
    ordered = known.deterministic or torch.are_deterministic_algorithms_enabled()
    precision = dot_precision(g.dtype) if g.dtype == torch.float32 else ""  # others have one
    return g.stride(), dlse is None, needs[3:_SINKS], ordered, precision


def _tensors(started: tuple, data: Sequence[Tensor]) -> list[Tensor]:
    return [x for x in (*started, *data) if x is not None]


def _environment(known: KnownCall, started: tuple) -> Environment | None:
    """What the backward pass starts from besides inputs; None where tensors of the forward pass came back changed."""
    g, q, k, v, out, lse, dlse, table = started
    if any(x.data_ptr() % 16 for x in (q, k, v, out, lse)):
        return None
    env = {"Q": q, "K": k, "V": v, "DO": as_readable(g), "OUT": out, "LSE": lse}
    env |= {"scale": known.scale, "scale_log2": known.scale * LOG2_E_FLOAT}
    if dlse is not None:
        env["DLSE"] = as_contiguous(dlse)
    if table is not None:
        env["SEQUENCES"] = table
    return env
