"""`sparsec.vllm` against vLLM's own classes where it is installed, and a stand-in of its interface where it is not.

A batch is served as vLLM serves it: prompts in pieces, one row a step or several, in pages that come and go.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import refused
from support.stand_ins import is_installed
from support.stand_ins import vllm as stand_in

with stand_in.provided():
    import vllm.v1.attention.backend as interface
    from vllm.v1.attention.backends.registry import AttentionBackendEnum
    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.kv_cache_interface import FullAttentionSpec
    from vllm.v1.kv_cache_spec_registry import KVCacheSpecRegistry

    import sparsec.vllm
    from sparsec.vllm import backend, patterns
    from sparsec.vllm.retention import PatternManager, as_pattern_spec

PAGE, HEADS, KV_HEADS, SIZE = 16, 4, 2, 16
TEXT = "pattern p(w = 20) = match layer { 0 -> sinks(2) | past(w)\n else -> causal & (same_block(16) | past(5)) }"


pytestmark = pytest.mark.usefixtures("one_thread")


def config(found: object = None, own: object = None) -> SimpleNamespace:
    """What is read of vLLM's configuration."""
    text = {"num_hidden_layers": 2} | ({} if own is None else {"sparsec": own})
    return SimpleNamespace(
        model_config=SimpleNamespace(hf_text_config=SimpleNamespace(**text)),
        additional_config={} if found is None else {"sparsec": found},
        speculative_config=None,
        parallel_config=SimpleNamespace(decode_context_parallel_size=1),
    )


def impl(monkeypatch: pytest.MonkeyPatch, found: object = None, **more: object) -> backend.Impl:
    made = config({"text": TEXT} if found is None else found)
    monkeypatch.setattr(backend, "get_current_vllm_config", lambda: made)
    return backend.Impl(HEADS, SIZE, 0.3, KV_HEADS, **more)


def spec() -> FullAttentionSpec:
    return FullAttentionSpec(block_size=PAGE, num_kv_heads=KV_HEADS, head_size=SIZE, dtype=torch.float32)


def manager(text: str, pages: int = 64) -> PatternManager:
    own = as_pattern_spec(spec(), patterns.served(config({"text": text})))
    pool = BlockPool(num_gpu_blocks=pages, enable_caching=False, hash_block_size=PAGE)
    return PatternManager(own, block_pool=pool, enable_caching=False, kv_cache_group_id=0, scheduler_block_size=PAGE)


class Server:
    """One layer of a model over a cache of pages.  Pages that nobody has are NaN."""

    def __init__(self, attention: backend.Impl, layer: int, lengths: list[int]) -> None:
        draw = torch.Generator().manual_seed(0)
        self.attention, self.layer = attention, SimpleNamespace(layer_name=f"model.layers.{layer}.self_attn.attn")
        self.manager = manager(attention.served.text)
        self.cache = torch.full((64, PAGE, KV_HEADS, 2 * SIZE), float("nan")).transpose(1, 2)
        self.q = [torch.randn(n, HEADS, SIZE, generator=draw) for n in lengths]
        self.kv = [torch.randn(2, n, KV_HEADS, SIZE, generator=draw) for n in lengths]
        self.done = [0] * len(lengths)
        self.builder = backend.Builder(spec(), [self.layer.layer_name], config(), torch.device("cpu"))

    def step(self, counts: dict[int, int], padding: int = 0) -> None:
        """So many rows of each request, and rows of padding; every result is compared with dense attention."""
        order = sorted(counts, key=lambda each: counts[each])  # decoding rows come first
        starts = torch.tensor([0, *(counts[each] for each in order)]).cumsum(0).int()
        ends = [self.done[each] + counts[each] for each in order]
        table, slots = torch.zeros(len(order), 12, dtype=torch.int32), []
        for row, each in enumerate(order):
            self.manager.remove_skipped_blocks(str(each), self.done[each])
            self.manager.allocate_new_blocks(str(each), ends[row], ends[row])
            ids = torch.tensor([block.block_id for block in self.manager.req_to_blocks[str(each)]])
            table[row, : len(ids)] = ids
            places = torch.arange(self.done[each], ends[row])
            slots.append(ids[places // PAGE] * PAGE + places % PAGE)
        held = {block.block_id for blocks in self.manager.req_to_blocks.values() for block in blocks} - {0}
        self.cache[[page for page in range(64) if page not in held]] = float("nan")
        rows = [slice(self.done[each], end) for each, end in zip(order, ends, strict=True)]
        q, k, v = (
            torch.cat([each[row] for each, row in zip(x, rows, strict=True)])
            for x in zip(*((self.q[each], *self.kv[each]) for each in order), strict=True)
        )
        extra = torch.full((padding,), -1)
        common = interface.CommonAttentionMetadata(
            query_start_loc=starts, query_start_loc_cpu=starts, seq_lens=torch.tensor(ends, dtype=torch.int32),
            num_reqs=len(order), num_actual_tokens=int(starts[-1]), max_query_len=max(counts.values()),
            max_seq_len=max(ends), block_table_tensor=table, slot_mapping=torch.cat([*slots, extra]),
        )  # fmt: skip
        metadata = self.builder.build(0, common)
        q, k, v = (torch.cat([x, x.new_zeros(padding, *x.shape[1:])]) for x in (q, k, v))
        output = torch.full_like(q, 7.0)
        assert self.attention.forward(self.layer, q, k, v, self.cache, metadata, output) is output
        assert (output[int(starts[-1]) :] == 7).all()
        for row, each in enumerate(order):
            self.check(output[int(starts[row]) : int(starts[row + 1])], each, rows[row])
            self.done[each] = ends[row]

    def check(self, found: torch.Tensor, request: int, rows: slice) -> None:
        n = rows.stop
        number = int(self.layer.layer_name.split(".")[2])
        mask = torch.from_numpy(self.attention.served.layer(number).pattern.mask(n, n))[rows]
        k, v = (x[:n].repeat_interleave(HEADS // KV_HEADS, 1).double() for x in self.kv[request])
        scores = (torch.einsum("qhd,khd->hqk", self.q[request][rows].double(), k) * 0.3).masked_fill(
            ~mask, float("-inf")
        )
        expected = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)
        assert (found - expected).abs().max() <= 2 * (expected - expected.bfloat16()).abs().max() * 2**-8


@pytest.mark.parametrize("layer", [0, 1])
def test_a_batch_that_grows(layer, monkeypatch):
    """Prompts in pieces beside decoding, then decoding alone; what pages hold that were freed is never read."""
    server = Server(impl(monkeypatch), layer, [150, 90, 90, 40])
    server.step({0: 100, 1: 37})
    server.step({0: 1, 1: 20, 2: 49}, padding=3)
    server.step({0: 1, 1: 1, 2: 18, 3: 1})
    for _ in range(6):
        server.step(dict.fromkeys(range(3), 1), padding=2)
    held = sum(block.block_id != 0 for block in server.manager.req_to_blocks["0"])
    assert held <= 4 < len(server.manager.req_to_blocks["0"])


@pytest.mark.full
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_steps(data):
    with pytest.MonkeyPatch.context() as patch:
        server = Server(impl(patch), data.draw(st.integers(0, 1)), [100, 80, 60])
        if data.draw(st.booleans()):
            server.builder.reorder_batch_threshold = 5  # rows of speculation count as decoding
        for _ in range(data.draw(st.integers(1, 6))):
            left = {each: len(q) - server.done[each] for each, q in enumerate(server.q)}
            counts = {each: data.draw(st.sampled_from((1, 2, 3, 5, 17, 30))) for each in left}
            counts = {each: min(count, left[each]) for each, count in counts.items() if left[each]}
            if counts:
                server.step(counts, data.draw(st.integers(0, 2)))


def test_rows_of_speculation(monkeypatch):
    """Several rows of each request, as many of all, or not; they are decoded, and not gathered."""
    server = Server(impl(monkeypatch), 0, [60, 60])
    server.builder.reorder_batch_threshold = 4
    server.step({0: 30, 1: 41})
    server.step({0: 3, 1: 3})
    server.step({0: 2, 1: 4})


def test_pages_that_go():
    """A page is freed where no row from the next one on sees a key of it; pages with sinks stay."""
    own = manager("pattern p = sinks(2) | past(20)")
    own.allocate_new_blocks("a", 200, 200)
    before = own.block_pool.get_num_free_blocks()
    own.remove_skipped_blocks("a", 0)
    assert own.block_pool.get_num_free_blocks() == before
    own.remove_skipped_blocks("a", 100)
    blocks = own.req_to_blocks["a"]
    gone = [page for page, block in enumerate(blocks) if block is own.block_pool.null_block]
    assert gone == [1, 2, 3, 4] and own.block_pool.get_num_free_blocks() == before + 4
    own.remove_skipped_blocks("a", 100)
    assert own.block_pool.get_num_free_blocks() == before + 4
    own.free("a")
    assert own.block_pool.get_num_free_blocks() == 63


def test_the_plug_in(monkeypatch):
    """What vLLM calls at start: the backend by name, and the cache of its layers."""
    with stand_in.provided():
        sparsec.vllm.register()
        sparsec.vllm.register()
    if is_installed("vllm"):
        assert AttentionBackendEnum["SPARSEC"].get_class() is backend.Backend
    else:
        assert stand_in.backends == {"SPARSEC": "sparsec.vllm.backend.Backend"}
    impl(monkeypatch)
    made = backend.Backend.customize_spec(spec())
    assert KVCacheSpecRegistry.get_manager_class(made) is PatternManager
    assert type(made).merge([made, made]) == made and made.block_size == PAGE
    assert backend.Backend.supports_head_size(96) and not backend.Backend.supports_head_size(100)
    assert backend.Backend.get_impl_cls() is backend.Impl and backend.Backend.get_builder_cls() is backend.Builder


def test_where_the_pattern_comes_from():
    kept = {"text": "pattern p(w = 3) = past(w)", "parameters": {"w": 9}}  # as `use` writes it of an operator
    for made in (config(kept), config(own=kept), config({"text": kept["text"], "w": 9}, own={"text": "none"})):
        assert patterns.served(made).layer(1).pattern.parameters == {"w": 9}
    assert "a pattern, and has none" in refused(lambda: patterns.served(config()))


def test_refusals(monkeypatch):
    def layer_of(text: str, **more: object) -> object:
        own = impl(monkeypatch, {"text": text}, **more)
        q = torch.zeros(1, HEADS, SIZE)
        return own.forward(SimpleNamespace(layer_name="layers.0.attn"), q, q, q, q, None, q.clone())

    assert "later keys" in refused(lambda: layer_of("pattern p = full"))
    assert "names `n`" in refused(lambda: layer_of("pattern p = causal & q - k <= n // 2"))
    assert "data of the call" in refused(lambda: layer_of("input doc: int[n] pattern p = causal & doc[q] == doc[k]"))
    assert "the last 8 keys" in refused(lambda: layer_of("pattern p = past(9)", sliding_window=8))
    assert "the last 8 keys" in refused(lambda: layer_of("pattern p = past(4) | sinks(1)", sliding_window=8))
    assert "capped at 50" in refused(lambda: layer_of("pattern p = past(8)", logits_soft_cap=50.0))
    layer_of("pattern p = past(8) with softcap(50)", sliding_window=8, logits_soft_cap=50.0)
    assert "alibi_slopes" in refused(lambda: impl(monkeypatch, alibi_slopes=[1.0]))
    assert "encoder_only" in refused(lambda: impl(monkeypatch, attn_type="encoder_only"))
    assert "`chunk_lookback`" in refused(lambda: impl(monkeypatch, chunk_lookback=1))
