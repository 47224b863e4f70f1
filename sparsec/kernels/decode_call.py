"""A decoding step: its arguments, checked once for each set of shapes, and the path of its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.call import check_head_sizes, check_kinds, number_of
from sparsec.kernels.decode_cpu import decode_cpu
from sparsec.kernels.decode_gpu import environment_of, prepared_step
from sparsec.kernels.decode_pages import Pages
from sparsec.kernels.decode_program import Steps
from sparsec.kernels.hardware import dot_precision
from sparsec.kernels.launch import Environment, Meta, Pass
from sparsec.kernels.positions import looks
from sparsec.kernels.program import Program
from sparsec.kernels.scratch import like_of
from sparsec.kernels.sinks import checked_sinks
from sparsec.kernels.watched import likeness
from sparsec.kernels.whole_call import Whole, in_c, whole_call

MOST_ROWS = 16  # of a step
_MOST_D, _MOST_V_D = 576, 512  # head sizes: those of a compressed cache (DeepSeek-V2, arXiv:2405.04434)
_MOST_CALLS = 128  # whose checks are remembered


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
        self.known: dict[tuple, tuple[Pass, float]] = {}
        self.last: LastStep | None = None

    def __call__(
        self, q: Any, k: Any, v: Any, lengths: Any, pages: Any, sinks: Any, scale: Any, out: Any, return_lse: bool
    ) -> Any:
        """As `Attend.decode`."""
        given = scale, return_lse, torch.is_grad_enabled()
        last = self.last  # once: other threads may call
        if out is None and last is not None and not looks():
            tensors = last.served(q, k, v, lengths, pages, sinks, given)
            if tensors and (made := last(*tensors)) is not None:
                return made
        signature = _signature(q, k, v, lengths, pages, sinks, scale, out, return_lse)
        known = self.known.get(signature) if signature else None
        if known and not (q.data_ptr() | k.data_ptr() | v.data_ptr() | (0 if out is None else out.data_ptr())) % 16:
            env = environment_of(q, k, v, lengths, Pages.of(pages, k), sinks, known[1])
            if out is None and q.dtype != torch.float32 and not isinstance(pages, tuple):
                if last is None or last.run is not known[0] or last.given != given:
                    self.last = LastStep(known[0], env["scale_log2"], given)
                elif last.alike is None and last.run.direct:  # the second time in a row
                    last.compare_later(q, k, v, lengths, pages, sinks)
            return _results(known[0], env, q, _room_for_step(q, v) if out is None else out, return_lse)
        paged = _checked_step(q, k, v, lengths, pages, out, self.heads, self.steps.most_positions)
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
                found = found.reshape(*q.shape[:-1], v.shape[3])
                found = found if out is None else out.copy_(found)
                return (found, lse.reshape(q.shape[:-1])) if return_lse else found
            return self._launched(signature, q, rows, k, v, lengths, paged, sinks, number, out, return_lse)

    def _launched(
        self, signature: tuple | None, q: Tensor, rows: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages,
        sinks: Tensor | None, scale: float, out: Tensor | None, return_lse: bool,
    ) -> Any:  # fmt: skip
        """The step of checked GPU tensors."""
        readable = _readable(rows)
        if scale <= 0:  # kernels take the maximum before scaling
            readable, scale = (-readable, -scale) if scale else (readable * 0, 1.0)
        as_given = readable is rows and lengths.is_contiguous() and (sinks is None or sinks.is_contiguous())
        own_sinks = None if sinks is None else sinks[0].contiguous()
        to = out if out is not None and _reads(out) else q.new_empty(*q.shape[:-1], v.shape[3])
        shaped = to if to.dim() == 4 else to[:, None]
        run = prepared_step(self.steps, readable, k, v, lengths.contiguous(), pages, own_sinks, shaped, return_lse)
        if signature and as_given and (to is out or (out is None and q.is_contiguous())):
            while len(self.known) >= _MOST_CALLS:
                self.known.pop(next(iter(self.known)), None)
            self.known[signature] = run, scale
        env = environment_of(readable, k, v, lengths.contiguous(), pages, own_sinks, scale)
        found = _results(run, env, q, to, return_lse)
        if out is None or to is out:
            return found
        out.copy_(to)
        return (out, found[1]) if return_lse else out


def _results(run: Pass, env: Environment, q: Tensor, out: Tensor, return_lse: bool) -> Any:
    """What a call returns, once `run` has filled it in."""
    env["OUT"] = out
    run(env)
    return (out, env["LSE"].view(q.shape[:-1])) if return_lse else out


class LastStep:
    """The last call: most calls differ from it in the values of their tensors, and in which tensors these are."""

    def __init__(self, run: Pass, scale_log2: float, given: tuple) -> None:
        """`given`: scale, return_lse, and whether gradients are enabled."""
        self.run, self.scale_log2, self.given = run, scale_log2, given
        self.alike: Callable[..., bool] | None = None  # whether tensors are like those of the call
        self.no_pages = self.no_sinks = True
        self.whole: Whole | None = None  # the step as one function in C

    def compare_later(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Any, sinks: Any) -> None:
        """Has tensors of later calls compared with these in C, and their step found there."""
        self.no_pages, self.no_sinks = pages is None, sinks is None
        tensors = {"Q": q, "K": k, "V": v, "LENGTHS": lengths, "PAGES": pages, "SINKS": sinks}
        names = [name for name, x in tensors.items() if x is not None]
        out = Meta.contiguous((*q.shape[:-1], v.shape[3]), q.dtype, q.device)
        made = {"OUT": like_of(out)}
        if self.given[1]:
            made["LSE"] = like_of(Meta.contiguous(tuple(q.shape[:-1]), torch.float32, q.device))
        given = {name: place for place, name in enumerate(names)}
        self.whole = whole_call(self.run, given, {"scale_log2": self.scale_log2}, made)
        if self.whole is not None:
            self.alike = likeness(*(tensors[name] for name in names))

    def served(self, q: Any, k: Any, v: Any, lengths: Any, pages: Any, sinks: Any, given: tuple) -> tuple | None:
        """The tensors of a call with the same step; None for others."""
        if self.alike is None or given != self.given:
            return None
        if (pages is None) != self.no_pages or (sinks is None) != self.no_sinks:
            return None
        tensors: tuple = q, k, v, lengths
        if pages is not None:
            tensors += (pages,)
        if sinks is not None:
            tensors += (sinks,)
        return tensors if self.alike(*tensors) else None

    def __call__(self, *tensors: Tensor) -> Any:
        """The step of such a call; None where it is not to be had from C."""
        return self.whole(*tensors) if in_c(self.whole, self.run.device) else None  # type: ignore[misc]


def _room_for_step(q: Tensor, v: Tensor) -> Tensor:
    """Room for the result: a tensor like q, with the head size of v."""
    return torch.empty_like(q) if q.shape[-1] == v.shape[3] else q.new_empty(*q.shape[:-1], v.shape[3])


def _signature(*given: Any) -> tuple | None:
    """All that the checks and launches of a call on a GPU depend on; None for other calls."""
    q, k, v, lengths, pages, sinks, scale, out, return_lse = given
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
    return *kinds, len(tensors), scale, return_lse, dot_precision(q.dtype)


def _on_cpu(q: Tensor) -> bool:
    return q.device.type == "cpu"


# ---------------------------------------------------------------- checks


def _checked_step(
    q: Any, k: Any, v: Any, lengths: Any, pages: Any, out: Any, heads: int | None, most_positions: int
) -> Pages:
    """The table of pages of a call, after everything about its tensors has been found sound.  ValueError."""
    if not all(isinstance(x, Tensor) for x in (q, k, v)):
        kinds = ", ".join(type(x).__name__ for x in (q, k, v))
        raise ValueError(f"[SP0601] q, k and v must be tensors, got {kinds}")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        cure = "decode under torch.no_grad(), or call attend(q, k, v)"
        raise ValueError(f"[SP0607] a step of decoding has no gradient: {cure}")
    if q.dim() not in (3, 4) or k.dim() != 4 or v.dim() != 4:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"[SP0601] expected q [B, H, D] or [B, m, H, D], k and v of 4 dimensions, got {shapes}")
    check_kinds(q, k, v)
    _check_integers("lengths", lengths, (q.shape[0],), q)
    if pages is not None:
        _check_pages(pages, q)
    _check_sizes(q, k, v, pages, heads)
    paged = Pages.of(pages, k)
    capacity = paged.capacity(k)
    if capacity >= most_positions:
        raise ValueError(f"[SP0601] a sequence can have {most_positions - 1} keys at most, the cache has {capacity}")
    if (q.device.type == "cpu" or looks()) and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > capacity:
            raise ValueError(f"[SP0612] lengths must be 0 to {capacity}, the room of the cache, got {low}..{high}")
    _check_out(out, q, v)
    if not _on_cpu(q):
        for name, x in (("k", k), ("v", v)):
            if not _reads(x):
                cure = "rows of D begin at multiples of 16 bytes in caches that are allocated at once"
                raise ValueError(f"[SP0601] {name} can't be read as it lies, strides {x.stride()}: {cure}")
    return paged


def _check_sizes(q: Tensor, k: Tensor, v: Tensor, pages: Any, wanted: int | None) -> None:
    *_, heads, dim = q.shape
    kv_heads, place = (k.shape[1], "[B, H_kv, N, D]") if pages is None else (k.shape[2], "[pages, page, H_kv, D]")
    if k.shape[:3] != v.shape[:3] or k.shape[3] != dim or (pages is None and k.shape[0] != q.shape[0]):
        got = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"[SP0601] k must be {place}, with the head size of q, and v alike but for its own; got {got}")
    check_head_sizes(dim, v.shape[3], _MOST_D, _MOST_V_D)
    if q.dim() == 4 and not 1 <= q.shape[1] <= MOST_ROWS:
        cure = "call attend(q, k, v, lengths=...) for more"
        raise ValueError(f"[SP0601] a step has 1 to {MOST_ROWS} rows, q [B, m, H, D] has m = {q.shape[1]}: {cure}")
    if heads % kv_heads if kv_heads else heads:
        counts = f"{heads} query heads and {kv_heads} key heads"
        raise ValueError(f"[SP0604] the number of query heads must be a multiple of that of key heads, got {counts}")
    if wanted is not None and heads != wanted:
        raise ValueError(f"[SP0604] this pattern was compiled for {wanted} query heads, got {heads}")


def _check_integers(name: str, x: Any, shape: tuple[int | None, ...], q: Tensor) -> None:
    said = ", ".join("any" if size is None else str(size) for size in shape)
    if not isinstance(x, Tensor) or x.dtype not in (torch.int32, torch.int64):
        got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else repr(x)
        raise ValueError(f"[SP0612] {name} must be a tensor of int32 [{said}], got {got}")
    if x.dim() != len(shape) or any(size not in (None, own) for size, own in zip(shape, x.shape, strict=True)):
        raise ValueError(f"[SP0612] {name} must be [{said}], got shape {tuple(x.shape)}")
    if x.device != q.device:
        raise ValueError(f"[SP0603] {name} must be on the device of q, {q.device}, got {x.device}")


def _check_pages(pages: Any, q: Tensor) -> None:
    batch = q.shape[0]
    if isinstance(pages, tuple):
        if len(pages) != 2:
            raise ValueError(f"[SP0612] pages must be a table [B, most] or (indptr, indices), got {len(pages)} tensors")
        _check_integers("indptr of pages", pages[0], (batch + 1,), q)
        _check_integers("indices of pages", pages[1], (None,), q)
        named = {"indptr": pages[0], "indices": pages[1]}
    else:
        _check_integers("pages", pages, (batch, None), q)
        named = {"pages": pages}
    for name, x in named.items():
        if x.numel() and x.stride(-1) != 1:
            raise ValueError(f"[SP0612] {name}: a row must be contiguous, got strides {x.stride()}")


def _check_out(out: Any, q: Tensor, v: Tensor) -> None:
    if out is None:
        return
    shape = *q.shape[:-1], v.shape[3]
    if not isinstance(out, Tensor) or out.shape != shape or out.dtype != q.dtype or out.device != q.device:
        wanted = f"{shape}, {q.dtype}, on {q.device}"
        raise ValueError(f"[SP0601] out must be a tensor like q, with the head size of v, {wanted}, got {_told(out)}")


def _told(x: Any) -> str:
    return f"{tuple(x.shape)}, {x.dtype}, on {x.device}" if isinstance(x, Tensor) else repr(x)


def _reads(x: Tensor) -> bool:
    """Whether kernels can read a tensor: strides are passed in units of 8 elements."""
    *outer, last = x.stride()
    return last == 1 and not any(stride % 8 for stride in outer) and x.data_ptr() % 16 == 0


def _readable(x: Tensor) -> Tensor:
    """The tensor, or a copy of it that kernels can read."""
    return x if _reads(x) else x.clone(memory_format=torch.contiguous_format)
