"""What of torchtitan 0.3 `sparsec.torchtitan` touches, for machines without torchtitan: a stand-in, and not the host.

Written after its `protocols/module.py`, `config/configurable.py` and `models/common/attention.py`.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch

from support.stand_ins import standing_in


class Module(torch.nn.Module):
    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if "Config" in cls.__dict__:
            cls.Config._owner = cls

    @dataclass(kw_only=True, slots=True)
    class Config:
        _owner: ClassVar[type | None] = None

        param_init: dict | None = None
        sharding_config: object | None = None

        def build(self):
            return self._owner(config=replace(self))


class VarlenMetadata(NamedTuple):
    cu_seq_q: torch.Tensor
    cu_seq_k: torch.Tensor
    max_q: int
    max_k: int
    cu_seq_q_host: tuple[int, ...] | None = None


class VarlenAttention(Module):
    @dataclass(kw_only=True, slots=True)
    class Config(Module.Config):
        window_size: tuple[int, int] = (-1, 0)

    def __init__(self, config):
        raise NotImplementedError("its kernels are FlashAttention's")


def create_varlen_metadata_for_document(positions: torch.Tensor) -> VarlenMetadata:
    """Documents begin where positions are 0, rows one after the other."""
    starts = (positions.flatten() == 0).nonzero()[:, 0].to(torch.int32)
    ends = torch.cat([starts, torch.tensor([positions.numel()], dtype=torch.int32)])
    longest = int(ends.diff().max())
    return VarlenMetadata(ends, ends, longest, longest)


def provided() -> AbstractContextManager[None]:
    """These, under the names that torchtitan and spmd_types have, where torchtitan is not installed."""
    contents: dict[str, dict[str, object]] = {
        "torchtitan": {},
        "torchtitan.distributed": {},
        "torchtitan.distributed.utils": {"get_spmd_backend": lambda: "default"},
        "torchtitan.models": {},
        "torchtitan.models.common": {},
        "torchtitan.models.common.attention": {
            "VarlenAttention": VarlenAttention,
            "VarlenMetadata": VarlenMetadata,
            "create_varlen_metadata_for_document": create_varlen_metadata_for_document,
        },
        "torchtitan.protocols": {},
        "torchtitan.protocols.module": {"Module": Module},
        "spmd_types": {"no_typecheck": contextlib.nullcontext, "is_type_checking": lambda: False},
        "spmd_types.runtime": {"get_local_type": None, "get_partition_spec": None},
    }
    return standing_in("torchtitan", contents)
