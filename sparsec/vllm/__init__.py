"""sparsec as an attention backend of vLLM (0.33), by vLLM's own entry point for plug-ins: nothing to import.

    vllm serve MODEL --attention-backend SPARSEC --additional-config '{"sparsec": {"text": "...", "w": 4096}}'

The pattern is that of `additional_config`, or the one that `sparsec.transformers.use` left in the model's config.json.
Pages of the cache that no row will see any more are given back while a sequence grows (`attend.retention()`).
"""

from __future__ import annotations


def register() -> None:
    """Make the backend and the kind of its cache known to vLLM, which calls this in each of its processes."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend
    from vllm.v1.kv_cache_spec_registry import KVCacheSpecRegistry

    from sparsec.vllm.retention import PatternManager, PatternSpec

    if "SPARSEC" not in AttentionBackendEnum.__members__:
        register_backend("SPARSEC", "sparsec.vllm.backend.Backend")
    KVCacheSpecRegistry.check_kv_cache_spec_registry({})  # vLLM's own kinds come first, or it never registers them
    KVCacheSpecRegistry.register(PatternSpec, PatternManager, PatternSpec)
