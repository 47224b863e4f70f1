"""The attention backend: prompts and decoding steps of one batch, over vLLM's pages of keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.config import get_current_vllm_config
from vllm.model_executor.models.utils import extract_layer_index
from vllm.v1.attention.backend import (
    AttentionBackend,
    AttentionCGSupport,
    AttentionImpl,
    AttentionMetadataBuilder,
    AttentionType,
    CommonAttentionMetadata,
    MultipleOf,
)
from vllm.v1.attention.backends.utils import split_decodes_and_prefills
from vllm.v1.kv_cache_interface import AttentionSpec, FullAttentionSpec

from sparsec.analysis.retention import retention
from sparsec.importers.caps import applied_cap
from sparsec.runtime.attend import Attend
from sparsec.vllm.patterns import Served, has_cap, refused, served
from sparsec.vllm.retention import as_pattern_spec

_MOST_ROWS = 16  # of a sequence in one step, as `attend.decode` takes them
_served: list[Served] = []  # of the model of this process, from its first layer on


class Backend(AttentionBackend):
    """sparsec as a backend of vLLM: what it can do, and the classes that do it."""

    supported_dtypes: ClassVar[list[torch.dtype]] = [torch.float16, torch.bfloat16, torch.float32]

    @staticmethod
    def get_name() -> str:
        return "SPARSEC"

    @staticmethod
    def get_impl_cls() -> type[Impl]:
        return Impl

    @staticmethod
    def get_builder_cls() -> type[Builder]:
        return Builder

    @staticmethod
    def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[int | MultipleOf]:
        return [MultipleOf(16)]

    @classmethod
    def supports_head_size(cls, head_size: int) -> bool:
        return 16 <= head_size <= 256 and head_size % 8 == 0

    @classmethod
    def supports_sink(cls) -> bool:
        return True

    @classmethod
    def supports_sliding_window(cls) -> bool:
        return True  # where the pattern sees no more than the window; `Impl` looks

    @classmethod
    def customize_spec(cls, spec: AttentionSpec) -> AttentionSpec:
        """The cache of a layer as one of which the pattern lets pages go."""
        return as_pattern_spec(spec, _served[0]) if type(spec) is FullAttentionSpec and _served else spec


@dataclass(frozen=True)
class Prompt:
    """Several rows of one sequence: rows `first` to `stop` of the batch, the last of `keys` keys, in these pages."""

    first: int
    stop: int
    keys: int
    pages: Tensor  # [most]


@dataclass(frozen=True)
class Metadata:
    """Where the rows of a batch stand.  The first `tokens` rows are decoded, m for each of `lengths`."""

    num_actual_tokens: int
    slots: Tensor
    tokens: int
    m: int
    lengths: Tensor
    pages: Tensor
    prompts: tuple[Prompt, ...]


class Builder(AttentionMetadataBuilder[Metadata]):
    """Makes the metadata of a step from what vLLM says of its requests, once for all layers of a group."""

    _cudagraph_support: ClassVar[AttentionCGSupport] = AttentionCGSupport.UNIFORM_BATCH

    def __init__(self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any, device: torch.device) -> None:
        super().__init__(kv_cache_spec, layer_names, vllm_config, device)
        self._init_reorder_batch_threshold(1, supports_spec_as_decode=True)

    def build(
        self, common_prefix_len: int, common_attn_metadata: CommonAttentionMetadata, fast_build: bool = False
    ) -> Metadata:
        """Decoding rows come first in a batch.  Nothing is read from the device but lengths that vLLM has not told."""
        common = common_attn_metadata
        if common.causal is not True:
            raise refused("attention that is not causal", "another backend does it")
        threshold = min(self.reorder_batch_threshold or 1, _MOST_ROWS)
        decodes, _, tokens, _ = split_decodes_and_prefills(common, decode_threshold=threshold)
        lengths, pages, m = common.seq_lens[:decodes], common.block_table_tensor[:decodes], 1
        if tokens > decodes and tokens == decodes * common.max_query_len <= decodes * threshold:
            m = common.max_query_len
        elif tokens != decodes:  # unequal rows of each: one by one
            lengths, pages = _one_by_one(common, decodes, tokens)
        return Metadata(
            common.num_actual_tokens, common.slot_mapping, tokens, m, lengths, pages, _prompts(common, decodes)
        )


def _one_by_one(common: CommonAttentionMetadata, decodes: int, tokens: int) -> tuple[Tensor, Tensor]:
    """For each row that is decoded how many keys it sees, and the pages of its sequence."""
    ends = common.query_start_loc[1 : decodes + 1]
    rows = torch.arange(tokens, device=ends.device, dtype=ends.dtype)
    own = torch.searchsorted(ends, rows, right=True)
    lengths = common.seq_lens[:decodes][own] - (ends[own] - 1 - rows)
    return lengths.to(torch.int32), common.block_table_tensor[:decodes][own]


def _prompts(common: CommonAttentionMetadata, decodes: int) -> tuple[Prompt, ...]:
    if decodes == common.num_reqs:
        return ()
    starts = common.query_start_loc_cpu.tolist()
    known = common.seq_lens_cpu_upper_bound  # which is exact for prompts
    keys = (common.seq_lens if known is None else known).tolist()
    rows = range(decodes, common.num_reqs)
    pages = common.block_table_tensor
    return tuple(Prompt(starts[i], starts[i + 1], keys[i], pages[i]) for i in rows if starts[i] < starts[i + 1])


class Impl(AttentionImpl[Metadata]):
    """The attention of one layer."""

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        scale: float,
        num_kv_heads: int | None = None,
        alibi_slopes: list[float] | None = None,
        sliding_window: int | None = None,
        kv_cache_dtype: str = "auto",
        logits_soft_cap: float | None = None,
        attn_type: str = AttentionType.DECODER,
        kv_sharing_target_layer_name: str | None = None,
        sinks: Tensor | None = None,
        **others: object,
    ) -> None:
        """Arguments as vLLM has them.  SparsecError for what would change the result and a pattern does not say."""
        if alibi_slopes is not None:
            raise refused("`alibi_slopes`", "a pattern says them: `... with alibi`")
        if attn_type != AttentionType.DECODER:
            raise refused(f"attention of type {attn_type}", "another backend does it")
        if strange := [name for name, value in others.items() if value is not None]:
            raise refused(f"`{strange[0]}`", "another backend does it")
        self.num_heads, self.head_size, self.scale = num_heads, head_size, float(scale)
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.kv_cache_dtype, self.sinks = kv_cache_dtype, sinks
        self.window, self.cap = sliding_window, logits_soft_cap or None
        self.writes = kv_sharing_target_layer_name is None
        self.served = served(get_current_vllm_config())
        _served[:] = [self.served]
        self.attend: Attend | None = None

    def forward(
        self,
        layer: Any,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        kv_cache: Tensor,
        attn_metadata: Metadata | None,
        output: Tensor,
        output_scale: Tensor | None = None,
        output_block_scale: Tensor | None = None,
    ) -> Tensor:
        """query [T, H, D]; key, value [T, H_kv, D]; kv_cache [pages, H_kv, page, 2 * D] -> output [T, H, D].

        The cache has any strides.  Keys and values of the batch are written to their slots first.
        """
        if output_scale is not None or output_block_scale is not None:
            raise refused("a quantized output", "turn its fusion off")
        if self.attend is None:
            self.attend = self._checked(self.served.layer(extract_layer_index(layer.layer_name)))
        if attn_metadata is None:  # a run that measures memory
            return output.fill_(0)
        count, tokens = attn_metadata.num_actual_tokens, attn_metadata.tokens
        k_pages, v_pages = kv_cache.transpose(1, 2).split(self.head_size, dim=-1)
        if self.writes and key is not None and value is not None:
            _write(k_pages, key[:count], attn_metadata.slots[:count])
            _write(v_pages, value[:count], attn_metadata.slots[:count])
        out = output.view(-1, self.num_heads, self.head_size)
        query = query.view(-1, self.num_heads, self.head_size)
        if tokens:
            rows = query[:tokens].unflatten(0, (-1, attn_metadata.m))
            found = self.attend.decode(
                rows, k_pages, v_pages, attn_metadata.lengths, attn_metadata.pages, scale=self.scale, sinks=self.sinks
            )
            out[:tokens].unflatten(0, (-1, attn_metadata.m)).copy_(found)
        for prompt in attn_metadata.prompts:
            rows = query[prompt.first : prompt.stop].transpose(0, 1)[None]
            k, v = (_gathered(x, prompt) for x in (k_pages, v_pages))
            found = self.attend(rows, k, v, scale=self.scale, sinks=self.sinks)
            out[prompt.first : prompt.stop] = found[0].transpose(0, 1)
        return output

    def _checked(self, attend: Attend) -> Attend:
        """The operator; SparsecError where the model's window or cap is not that of the pattern."""
        nodes = attend.pattern.nodes
        kept = retention(nodes)
        if self.window is not None and (kept.pinned != 0 or kept.window is None or kept.window > self.window):
            hint = "`--hf-overrides '{\"sliding_window\": null}'` keeps what the pattern needs"
            raise refused(f"a cache of the last {self.window} keys, where the pattern sees others", hint)
        if self.cap is not None and not has_cap(nodes, self.cap):
            hint = f"say it in the pattern, `... {applied_cap(self.cap)}`"
            raise refused(f"scores capped at {self.cap:g}, which the pattern does not do", hint)
        return attend


def _write(pages: Tensor, new: Tensor, slots: Tensor) -> None:
    """Keys or values to their slots; those of padding, -1, to page 0, which vLLM gives to nobody."""
    slots = slots.clamp(min=0)
    size = pages.shape[1]
    pages[slots // size, slots % size] = new.to(pages.dtype)


def _gathered(pages: Tensor, prompt: Prompt) -> Tensor:
    """[1, H_kv, keys, D]: those of pages that were freed are 0, whatever was written there."""
    size = pages.shape[1]
    own = prompt.pages[: -(-prompt.keys // size)].long()
    found = pages[own].masked_fill((own == 0)[:, None, None, None], 0)
    return found.flatten(0, 1)[: prompt.keys].transpose(0, 1)[None]
