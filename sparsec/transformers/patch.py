"""Longformer and BigBird, which have attention of their own: their modules attend by sparsec, with the same weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from sparsec.runtime.attend import Attend
from sparsec.runtime.fitting import fitting
from sparsec.runtime.load import compile
from sparsec.transformers.refusal import refusal

_LONGFORMER = """
input real: bool[B, n]
input everywhere: bool[B, n]

pattern local(w) = (window(w) | everywhere[k]) & real[q] & real[k]
pattern whole = everywhere[q] & real[q] & real[k]
"""
# A model in evaluation draws the first block for each random one: its keys count r times more.
_BIGBIRD = """
input real: bool[B, n]
input drawn: blocks[BLOCK, BLOCK, t]

set fixed(b) = block_window(b, 3) | k < b | k >= n - b | q < b | q >= n - b
score repeated(b, r) = s + log(1 + r) if k < b & b <= q < n - b else s

pattern evaluation(b, r) = fixed(b) & real[q] & real[k] with repeated(b, r)
pattern training(b) = (fixed(b) | selected(drawn)) & real[q] & real[k]
"""


def patch(model: PreTrainedModel) -> PreTrainedModel:
    """Let the attention of Longformer or BigBird run by sparsec, in inference and in training; returns the model.

        model = sparsec.transformers.patch(LongformerModel.from_pretrained(name))

    Weights and their names stay, and so does what the model takes: `attention_mask`, Longformer's
    `global_attention_mask`, `attention_probs_dropout_prob`, random blocks of BigBird.  Results are those of the model's
    own attention.  No scores are written to memory, and tokens with global attention may be anywhere.

    Raises SparsecError (SP0610) for other models, for BigBird without its sparse attention, and at a call for
    `output_attentions`.
    """
    found = [module for module in model.modules() if isinstance(module, tuple(_INSTEAD))]
    if not found:
        config = model.config
        if getattr(config, "attention_type", None) == "original_full":
            hint = 'it is dense; `attention_type="block_sparse"` in the configuration makes it sparse'
            raise refusal("`attention_type` of `original_full`", hint, model)
        hint = (
            '`patch` is for Longformer and BigBird; others have `attn_implementation="sparsec"`, where they ask for it'
        )
        raise refusal("attention that `patch` does not know", hint, model)
    for module in found:
        if type(module) in _INSTEAD:  # else it is patched already
            module.__class__ = _INSTEAD[type(module)]
    return model


class SparseLongformerAttention(LongformerSelfAttention):
    """Attention of Longformer: a window, and tokens that see all and are seen by all, by projections of their own."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        is_index_masked: Tensor,
        is_index_global_attn: Tensor,
        is_global_attn: bool,
        output_attentions: bool = False,
    ) -> tuple[Tensor]:
        """hidden_states [B, n, E] -> ([B, n, E],); the masks [B, n] are those that Longformer's encoder makes."""
        if output_attentions:
            raise _no_weights(self, self.layer_id)
        data = {"real": ~is_index_masked, "everywhere": is_index_global_attn}
        local = _longformer("local", 2 * self.one_sided_attn_window_size)
        out = self._attend(local, hidden_states, self.query, self.key, self.value, data)
        if is_global_attn:
            own = self.query_global, self.key_global, self.value_global
            seen = self._attend(_longformer("whole"), hidden_states, *own, data)
            out = torch.where(is_index_global_attn[..., None], seen, out)
        return (out,)

    def _attend(
        self, attend: Attend, x: Tensor, query: nn.Module, key: nn.Module, value: nn.Module, data: dict[str, Tensor]
    ) -> Tensor:
        q, k, v = (project(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for project in (query, key, value))
        return _attended(attend, q, k, v, self.dropout if self.training else 0.0, data)


class SparseBigBirdAttention(BigBirdBlockSparseAttention):
    """Attention of BigBird: a window of three blocks, the first and the last block, and blocks drawn in training."""

    def forward(
        self, hidden_states: Tensor, band_mask: Tensor, from_mask: Tensor, to_mask: Tensor, *masks: Tensor, **more: Any
    ) -> tuple[Tensor, None]:
        """hidden_states [B, n, E] -> ([B, n, E], None); `to_mask` [B, 1, 1, n]: which keys are tokens."""
        if more.get("output_attentions"):
            raise _no_weights(self, self.seed)
        shape = self.num_attention_heads, self.attention_head_size
        q, k, v = (x(hidden_states).unflatten(2, shape).transpose(1, 2) for x in (self.query, self.key, self.value))
        data, size, n = {"real": to_mask[:, 0, 0] != 0}, self.block_size, hidden_states.shape[1]
        if self.training:
            data["drawn"] = torch.from_numpy(self._drawn(n)).to(q.device).expand(len(q), -1, -1, -1)
        attend = _bigbird("training", size) if self.training else _bigbird("evaluation", size, self.num_random_blocks)
        return _attended(attend, q, k, v, 0.0, data), None

    def _drawn(self, n: int) -> np.ndarray:
        """Blocks that each block of queries sees besides, int32 [H, n / block, r], as the model's own attention has it.

        That seeds NumPy's generator for everybody; here it stays where it was.
        """
        size, count, heads = self.block_size, self.num_random_blocks, self.num_attention_heads
        before = np.random.get_state()
        try:
            np.random.seed(self.seed)
            if n in (1024, 3072, 4096):
                longest = self.max_seqlen
                drawn = [
                    self._bigbird_block_rand_mask(longest, longest, size, size, count, last_idx=1024)[: n // size - 2]
                    for _ in range(heads)
                ]
            else:
                lengths, counts = self._get_rand_attn_plan(n, size, count)
                drawn = self._bigbird_block_rand_mask_with_head(
                    from_seq_length=n, to_seq_length=n, from_block_size=size, to_block_size=size, num_heads=heads,
                    plan_from_length=lengths, plan_num_rand_blocks=counts,
                )  # fmt: skip
        finally:
            np.random.set_state(before)
        lists = np.full((heads, n // size, count), -1, np.int32)
        lists[:, 1:-1] = np.stack(drawn)
        if any(_seen_twice(each, n // size) for each in lists):
            hint = "its own attention counts such keys twice; another length or `num_random_blocks` avoids it"
            raise refusal(f"random blocks that its window holds, too, at n = {n}", hint, self)
        return lists


_INSTEAD = {
    LongformerSelfAttention: SparseLongformerAttention,
    BigBirdBlockSparseAttention: SparseBigBirdAttention,
}


def _seen_twice(lists: np.ndarray, blocks: int) -> bool:
    """Whether a list of blocks [n / block, r] names one twice, or one that its block of queries sees anyway."""
    for own, drawn in list(enumerate(lists.tolist()))[1:-1]:
        seen = {0, blocks - 1, own - 1, own, own + 1}
        if len({*drawn}) < len(drawn) or seen & {*drawn}:
            return True
    return False


def _attended(attend: Attend, q: Tensor, k: Tensor, v: Tensor, dropout: float, data: dict[str, Tensor]) -> Tensor:
    """q, k, v [B, H, n, D] -> [B, n, H * D]."""
    scale = q.shape[-1] ** -0.5
    q, k, v, size = fitting(q, k, v)
    return attend(q, k, v, scale=scale, dropout_p=dropout, **data)[..., :size].transpose(1, 2).flatten(2)


def _no_weights(module: nn.Module, layer: int) -> Exception:
    return refusal(
        f"`output_attentions` of layer {layer}", "the weights are never formed; a model not patched has them", module
    )


@cache
def _longformer(pattern: str, window: int | None = None) -> Attend:
    bound: dict[str, Any] = {} if window is None else {"w": window}
    return compile(_LONGFORMER, pattern=pattern, **bound)


@cache
def _bigbird(pattern: str, block: int, drawn: int | None = None) -> Attend:
    bound: dict[str, Any] = {"b": block} if drawn is None else {"b": block, "r": drawn}
    return compile(_BIGBIRD.replace("BLOCK", str(block)), pattern=pattern, **bound)
