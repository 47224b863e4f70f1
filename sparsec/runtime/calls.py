"""The call of an operator, `attend(q, k, v)`: its arguments, their types, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from sparsec.runtime.foreign import refused

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Calls:
    """What can be called as attention over a pattern."""

    def _call(self, q: Tensor, k: Tensor, v: Tensor, **given: Any) -> Any:
        raise NotImplementedError

    def _again(self, q: object, k: object, v: object, given: tuple, inputs: dict[str, Any], with_lse: bool) -> Any:
        """What a call like the last one returns, None for others; `given`: scale, positions, sinks, deterministic."""
        return None

    def _input_names(self) -> tuple[str, ...]:
        """Of the data that the pattern reads."""
        raise NotImplementedError

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = None,
        sinks: Tensor | None = None,
        dropout_p: float | None = None,
        generator: Generator | None = None,
        dropout_seed: int | Tensor | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        deterministic: bool = True,
        return_lse: Literal[False] = False,
        **inputs: Tensor,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = None,
        sinks: Tensor | None = None,
        dropout_p: float | None = None,
        generator: Generator | None = None,
        dropout_seed: int | Tensor | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        deterministic: bool = True,
        return_lse: Literal[True],
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = None,
        sinks: Tensor | None = None,
        dropout_p: float | None = None,
        generator: Generator | None = None,
        dropout_seed: int | Tensor | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        deterministic: bool = True,
        return_lse: bool,
        **inputs: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]: ...
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *more: object,
        scale: float | None = None,
        sinks: Tensor | None = None,
        dropout_p: float | None = None,
        generator: Generator | None = None,
        dropout_seed: int | Tensor | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        deterministic: bool = True,
        return_lse: bool = False,
        **inputs: object,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """q [B, H, n_q, D]; k [B, H_kv, n, D]; v [B, H_kv, n, D_v] -> out [B, H, n_q, D_v], with `return_lse` also lse.

        H is a multiple of H_kv; D and D_v, often the same, are multiples of 8 from 16 to 256; fp32, fp16 or bf16; any
        strides.  lse [B, H, n_q] is the natural logarithm of the sum of exponentials, -inf where a query sees no key;
        out is 0 there.  `scale` multiplies the scores, by default D ** -0.5.  Query i stands at position i + q_offset,
        by default n - n_q.

        `sinks` [H]: for each query head a score more in the softmax of every row, without a value (gpt-oss); its
        gradient is exact.  lse counts it; a call or a sequence without any key has none.

        `dropout_p`, 0 <= p < 1: each weight is dropped with that probability after the softmax, others are divided by
        1 - p, as `scaled_dot_product_attention` has it; lse is that of all.  Which ones follows from a seed and from
        where a pair is (`dropout_mask`).  The seed is `dropout_seed`, an integer or an int64 tensor [1]; otherwise it
        is drawn from `generator`, or from torch's own for the device.  Training or not is the caller's to say.

        `documents`: several sequences packed in one row, each attended to as if it stood alone; int32 tensors on the
        device of q, either cu_seqlens [documents + 1], where the documents of one row begin and the last one ends, or
        start [B, n], for each token the first position of its document.  With it, q, k and v may also be [T, H, D];
        jagged nested tensors [B, H, n, D] need no `documents`.

        `lengths` int32 [B]: row b has keys 0 .. lengths[b] - 1, and n is lengths[b]; what lies behind is never read
        into a result.  `q_lengths` int32 [B]: as many queries; rows behind them are padding.  `k_offset` and
        `q_offset`, integers or int32 [B]: the positions of the first key and of the first query that are passed; keys
        and queries at negative positions are padding.  Where q has as many rows as k, and neither q_offset nor
        q_lengths is given, both are the same tokens; otherwise queries are the last of the keys.  Padding gets 0.

        Results and gradients are the same bit for bit from run to run.  `deterministic=False` lets programs add to
        gradients in any order where that is faster, as it is in kernels for Hopper GPUs: those of q then differ from
        run to run by their rounding, unless `torch.use_deterministic_algorithms` is on when they are made.

        `inputs` are the tensors of the pattern's inputs, by name, on the device of q: of bool, int32 or int64, with the
        axes of their declarations.  Positions of an input of packed documents are those of the packed row.

        Raises ValueError for what does not fit, and TypeError for arguments of other attention functions; the text
        begins with a code that `sparsec explain` knows.
        """
        keeps = generator is dropout_seed is None and (
            dropout_p is None or (type(dropout_p) in (int, float) and dropout_p == 0)
        )
        if keeps and not more and (return_lse is False or return_lse is True):
            same = scale, q_offset, k_offset, documents, lengths, q_lengths, sinks, deterministic
            if (made := self._again(q, k, v, same, inputs, return_lse)) is not None:
                return made
        if more or inputs:
            known = self._input_names() if inputs else ()
            if foreign := [name for name in inputs if name not in known]:
                raise refused(more, foreign, known)
            if more:
                raise refused(more, (), known)
        given: dict[str, Any] = {"scale": scale, "q_offset": q_offset, "return_lse": return_lse}
        if not (sinks is generator is dropout_seed is k_offset is documents is lengths is q_lengths is None):
            rare = {
                "sinks": sinks,
                "generator": generator,
                "dropout_seed": dropout_seed,
                "k_offset": k_offset,
                "documents": documents,
                "lengths": lengths,
                "q_lengths": q_lengths,
            }
            given |= {name: x for name, x in rare.items() if x is not None}
        if not keeps and dropout_p is not None:
            given["dropout_p"] = dropout_p
        if deterministic is not True:
            given["deterministic"] = deterministic
        return self._call(q, k, v, **given, **inputs)
