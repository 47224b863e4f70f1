"""`sparsec.torchtitan` in torchtitan where it is installed, and in a stand-in of its interface where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import refused
from support.stand_ins import is_installed
from support.stand_ins import torchtitan as stand_in

with stand_in.provided():
    from torchtitan.models.common import attention

    import sparsec.torchtitan

TEXT = "pattern p(w = 3) = sinks(1) | past(w)"


pytestmark = pytest.mark.usefixtures("one_thread")


def inner(text: str = TEXT, **more: object) -> sparsec.torchtitan.InnerAttention:
    return sparsec.torchtitan.InnerAttention.Config(text=text, **more).build()


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[2]), dtype=torch.float32)


@settings(max_examples=3, deadline=None)
@given(st.data())
def test_documents_stand_alone(data):
    """out and gradients of packed rows are those of each document in dense attention."""
    rows = [data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)) for _ in range(2)]
    size, groups = data.draw(st.sampled_from(((16, 1), (12, 2), (20, 3)))), 2
    length = max(map(sum, rows))
    rows = [[*row, length - sum(row)] if sum(row) < length else row for row in rows]
    positions = torch.stack([torch.cat([torch.arange(each) for each in row]) for row in rows])
    masks = attention.create_varlen_metadata_for_document(positions)
    q, k, v = (drawn(2, length, heads, size[0]) for heads in (groups * size[1], groups, groups))
    v = v[..., : size[0] - 4]  # values of a size of their own
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = inner()(*leaves, attention_masks=masks, scale=0.3, enable_gqa=size[1] > 1)
    weight = drawn(2, length, groups * size[1], size[0] - 4)
    found = torch.autograd.grad((out * weight).sum(), leaves)
    expected = torch.cat([_alone(*(x[b].split(row) for x in (q, k, v))) for b, row in enumerate(rows)])
    expected = expected.view_as(out)
    wanted = torch.autograd.grad((expected * weight).sum(), leaves)
    for a, b in zip((expected, *wanted), (out, *found), strict=True):
        half = (a.bfloat16().float() - a).norm()
        assert (a - b).norm() <= 2e-3 * half + 1e-6 * max(x.norm() for x in (expected, *wanted))


def _alone(*documents: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Dense attention of each document [n, N, H], at scale 0.3."""
    parts = []
    for q, k, v in zip(*documents, strict=True):
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        mask = torch.from_numpy(sparsec.compile(TEXT).pattern.mask(len(q), len(q)))
        scores = (torch.einsum("qhd,khd->hqk", q, k) * 0.3).masked_fill(~mask, float("-inf"))
        parts.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    return torch.cat(parts)


def test_rows_and_what_is_made_of_the_result():
    """Without metadata each row is one text; a transform of the result gets the log-sum-exp [B, L, N]."""
    q, k, v = (drawn(2, 11, heads, 16) for heads in (4, 2, 2))
    own, plain = inner(), sparsec.compile(TEXT)
    expected, lse = plain(*(x.transpose(1, 2) for x in (q, k, v)), return_lse=True)
    torch.testing.assert_close(own(q, k, v, enable_gqa=True), expected.transpose(1, 2))
    shaped = own(q, k, v, enable_gqa=True, out_transform=lambda out, lse: out * lse.sigmoid()[..., None])
    torch.testing.assert_close(shaped, (expected * lse.sigmoid()[..., None]).transpose(1, 2))


def test_refusals():
    q = drawn(1, 8, 4, 16)
    assert "window_size" in refused(lambda: inner(window_size=(4, 0)))
    assert "`score_mod`" in refused(lambda: inner()(q, q, q, score_mod=abs))
    assert "`attention_masks` of dict" in refused(lambda: inner()(q, q, q, attention_masks={}))
    assert "grouped heads without" in refused(lambda: inner()(q, q[:, :, :2], q[:, :, :2]))
    masks = attention.create_varlen_metadata_for_document(torch.arange(8)[None])
    other = masks._replace(cu_seq_k=torch.tensor([0, 4, 8], dtype=torch.int32))
    assert "that differ" in refused(lambda: inner()(q, q, q, attention_masks=other))
    assert "layers of its own kind" in refused(lambda: sparsec.torchtitan.use(SimpleNamespace(), TEXT))


def test_use(tmp_path):
    """Each layer gets its own number; sharding that was there stays."""
    path = tmp_path / "mine.spat"
    path.write_text("pattern p(w = 3) = match layer { 0 -> causal\n else -> past(w) }")
    plain = attention.VarlenAttention.Config()
    plain.sharding_config = "as before"
    layers = [SimpleNamespace(attention=SimpleNamespace(inner_attention=plain)) for _ in range(2)]
    config = SimpleNamespace(layers=[*layers, SimpleNamespace(attention=None)])
    assert sparsec.torchtitan.use(config, path, w=5) is config
    found = [each.attention.inner_attention for each in layers]
    assert [each.layer for each in found] == [0, 1] and {each.layers for each in found} == {3}
    assert {each.sharding_config for each in found} == {"as before"}
    assert isinstance(found[0], attention.VarlenAttention.Config)  # the trainer then passes documents
    for each in found:
        each.sharding_config = None
    texts = [each.build().attend.pattern.mask(9, 9).sum() for each in found]
    assert texts == [45, 35]


@pytest.mark.skipif(not is_installed("torchtitan"), reason="torchtitan is not installed")
def test_a_model_of_torchtitan():
    """Logits of documents in one row are those of each alone, and of causal attention those of torchtitan's own."""
    from torchtitan.models.llama3 import model_registry

    config = model_registry("debugmodel", attn_backend="varlen").model
    config.layers = config.layers[:2]
    tokens = torch.randint(2048, (1, 40), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(15), torch.arange(25)])[None]
    model = sparsec.torchtitan.use(config, TEXT, w=6).build()
    torch.manual_seed(0)
    model.init_states()
    masks = model.get_attention_masks(positions)
    with torch.no_grad():
        together = model(tokens, attention_masks=masks, positions=positions)
        alone = [
            model(part, attention_masks=None, positions=torch.arange(part.shape[1])[None])
            for part in tokens.split((15, 25), 1)
        ]
        torch.testing.assert_close(together, torch.cat(alone, 1), atol=1e-5, rtol=1e-4)
        causal = sparsec.torchtitan.use(config, "pattern p = causal").build()
        for layer in config.layers:
            layer.attention.inner_attention = attention.ScaledDotProductAttention.Config()
        own = config.build()
        for each in (causal, own):
            each.load_state_dict(model.state_dict())
        given = {"attention_masks": None, "positions": torch.arange(40)[None]}
        torch.testing.assert_close(causal(tokens, **given), own(tokens, **given), atol=1e-5, rtol=1e-4)
