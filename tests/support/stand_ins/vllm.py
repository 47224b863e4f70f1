"""What of vLLM 0.33 `sparsec.vllm` touches, for machines without vLLM: a stand-in, and not the host.

Written after its folders v1/attention and v1/core, `v1/kv_cache_interface.py` and `v1/kv_cache_spec_registry.py`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from typing import ClassVar, Generic, TypeVar

import torch

from support.stand_ins import standing_in

M = TypeVar("M")


class AttentionType(StrEnum):
    DECODER = "decoder"
    ENCODER_ONLY = "encoder_only"


@dataclass(frozen=True)
class MultipleOf:
    base: int


class AttentionCGSupport(Enum):
    UNIFORM_BATCH = 2
    NEVER = 0


class AttentionBackend:
    forward_includes_kv_cache_update = True

    @classmethod
    def supports_dtype(cls, dtype):
        return dtype in cls.supported_dtypes


@dataclass
class CommonAttentionMetadata:
    query_start_loc: torch.Tensor
    query_start_loc_cpu: torch.Tensor
    seq_lens: torch.Tensor
    num_reqs: int
    num_actual_tokens: int
    max_query_len: int
    max_seq_len: int
    block_table_tensor: torch.Tensor
    slot_mapping: torch.Tensor
    causal: bool | torch.Tensor = True
    seq_lens_cpu_upper_bound: torch.Tensor | None = None


class AttentionMetadataBuilder(Generic[M]):
    reorder_batch_threshold: int | None = None

    def __init__(self, kv_cache_spec, layer_names, vllm_config, device):
        self.kv_cache_spec, self.layer_names = kv_cache_spec, layer_names
        self.vllm_config, self.device = vllm_config, device

    def _init_reorder_batch_threshold(self, reorder_batch_threshold=1, supports_spec_as_decode=False):
        self.reorder_batch_threshold = reorder_batch_threshold
        speculative = self.vllm_config.speculative_config
        if supports_spec_as_decode and speculative is not None:
            self.reorder_batch_threshold = 1 + speculative.num_speculative_tokens


class AttentionImpl(Generic[M]):
    pass


def split_decodes_and_prefills(common, decode_threshold=1):
    """(decodes, prefills, their tokens) of a batch in which the former come first."""
    if common.max_query_len <= decode_threshold:
        return common.num_reqs, 0, common.num_actual_tokens, 0
    counts = common.query_start_loc_cpu.diff()
    first = int((counts > decode_threshold).int().argmax())
    tokens = int(common.query_start_loc_cpu[first])
    return first, common.num_reqs - first, tokens, common.num_actual_tokens - tokens


def extract_layer_index(layer_name: str) -> int:
    (number,) = [int(part) for part in layer_name.split(".") if part.isdigit()]
    return number


class AttentionBackendEnum(Enum):
    CUSTOM = None


backends: dict[str, str] = {}


def register_backend(backend, class_path=None):
    backends[backend] = class_path


@dataclass(frozen=True)
class KVCacheSpec:
    block_size: int


@dataclass(frozen=True, kw_only=True)
class AttentionSpec(KVCacheSpec):
    num_kv_heads: int
    head_size: int
    dtype: torch.dtype
    page_size_padded: int | None = field(default=None)


@dataclass(frozen=True, kw_only=True)
class FullAttentionSpec(AttentionSpec):
    sliding_window: int | None = None

    @classmethod
    def merge(cls, specs):
        merged = cls(**{each.name: getattr(specs[0], each.name) for each in fields(cls)})
        assert all(spec == merged for spec in specs)
        return copy.deepcopy(merged)


class KVCacheSpecRegistry:
    managers: ClassVar[dict[type, type]] = {}

    @classmethod
    def register(cls, kvcache_spec_cls, manager_class, uniform_type_base_spec):
        cls.managers[kvcache_spec_cls] = manager_class

    @classmethod
    def check_kv_cache_spec_registry(cls, kv_cache_spec):
        cls.managers.setdefault(FullAttentionSpec, FullAttentionManager)

    @classmethod
    def get_manager_class(cls, kvcache_spec):
        return cls.managers[type(kvcache_spec)]


@dataclass(eq=False)
class KVCacheBlock:
    block_id: int


class BlockPool:
    def __init__(self, num_gpu_blocks, enable_caching, hash_block_size):
        self.null_block, *self.free = map(KVCacheBlock, range(num_gpu_blocks))

    def get_new_blocks(self, count):
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def free_blocks(self, ordered_blocks):
        self.free += ordered_blocks

    def get_num_free_blocks(self):
        return len(self.free)


class FullAttentionManager:
    def __init__(self, kv_cache_spec, block_pool, enable_caching, kv_cache_group_id, scheduler_block_size):
        self.block_size, self.block_pool = kv_cache_spec.block_size, block_pool
        self.kv_cache_spec, self._null_block = kv_cache_spec, block_pool.null_block
        self.req_to_blocks = defaultdict(list)

    def allocate_new_blocks(self, request_id, num_tokens, num_tokens_main_model):
        own = self.req_to_blocks[request_id]
        new = self.block_pool.get_new_blocks(-(-num_tokens // self.block_size) - len(own))
        own += new
        return new

    def free(self, request_id):
        blocks = self.req_to_blocks.pop(request_id, [])
        self.block_pool.free_blocks([block for block in reversed(blocks) if block is not self._null_block])


def provided() -> AbstractContextManager[None]:
    """These, under the names that vLLM has, where it is not installed."""
    contents = {
        "vllm": (),
        "vllm.config": (),
        "vllm.model_executor": (),
        "vllm.model_executor.models": (),
        "vllm.model_executor.models.utils": ("extract_layer_index",),
        "vllm.v1": (),
        "vllm.v1.attention": (),
        "vllm.v1.attention.backend": (
            "AttentionBackend", "AttentionCGSupport", "AttentionImpl", "AttentionMetadataBuilder", "AttentionType",
            "CommonAttentionMetadata", "MultipleOf",
        ),
        "vllm.v1.attention.backends": (),
        "vllm.v1.attention.backends.registry": ("AttentionBackendEnum", "register_backend"),
        "vllm.v1.attention.backends.utils": ("split_decodes_and_prefills",),
        "vllm.v1.kv_cache_interface": ("AttentionSpec", "FullAttentionSpec"),
        "vllm.v1.kv_cache_spec_registry": ("KVCacheSpecRegistry",),
        "vllm.v1.core": (),
        "vllm.v1.core.block_pool": ("BlockPool",),
        "vllm.v1.core.single_type_kv_cache_manager": ("FullAttentionManager",),
    }  # fmt: skip
    named = {name: {each: globals()[each] for each in attributes} for name, attributes in contents.items()}
    named["vllm.config"]["get_current_vllm_config"] = None
    return standing_in("vllm", named)
