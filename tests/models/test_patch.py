"""Longformer and BigBird with sparsec's attention, against their own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import model_of, padded, randomized, refused, tf, tokens

import sparsec.transformers

SIZES = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PLAIN = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "pad_token_id": 0}


def longformer(**more: object) -> tf.PreTrainedModel:
    config = tf.LongformerConfig(
        **SIZES | PLAIN | {"attention_window": [4, 8], "max_position_embeddings": 200, "bos_token_id": 1} | more
    )
    return randomized(tf.LongformerModel, config)


def big_bird(**more: object) -> tf.PreTrainedModel:
    config = tf.BigBirdConfig(
        **SIZES | PLAIN | {"block_size": 4, "num_random_blocks": 2, "max_position_embeddings": 1100} | more
    )
    return randomized(tf.BigBirdModel, config)


def run(model: tf.PreTrainedModel, weight: torch.Tensor, **given: object) -> list[torch.Tensor]:
    model.zero_grad()
    out = model(**given)[0]
    (out * weight[..., None]).square().mean().backward()
    return [out.detach() * weight[..., None], *(each.grad for each in model.parameters() if each.grad is not None)]


def check(model: tf.PreTrainedModel, training: bool = False, **given: torch.Tensor) -> None:
    """As the model's own attention; its error in half the digits is the measure.  Padding is not looked at.

    Gradients of biases of keys are sums that are 0: there the last place of the largest gradient is the measure.
    """
    weight = given["attention_mask"].float()
    own, rough = model.train(training), copy.deepcopy(model).bfloat16()
    ours = sparsec.transformers.patch(copy.deepcopy(own))
    expected, coarse, found = (run(each, weight, **given) for each in (own, rough, ours))
    least = torch.finfo(torch.float32).eps * max(float(each.norm()) for each in expected[1:])
    for a, b, c in zip(expected, found, coarse, strict=True):
        assert (a - b).norm() <= 2e-3 * (a - c.float()).norm() + 1e-6 * a.norm() + least


def test_weights_keep_their_names():
    for model in (longformer(), big_bird()):
        before = set(model.state_dict())
        patched = sparsec.transformers.patch(sparsec.transformers.patch(model))
        assert patched is model and set(model.state_dict()) == before


@settings(max_examples=4, deadline=None)
@given(st.data())
def test_longformer_with_any_global_tokens_and_padding(data):
    n = data.draw(st.integers(1, 50))
    lengths = tuple(data.draw(st.lists(st.integers(1, n), min_size=2, max_size=2)))
    mask = padded(n, lengths, data.draw(st.sampled_from(("left", "right"))))
    drawn = data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=2, max_size=2))
    check(longformer(), input_ids=tokens(n, 2), attention_mask=mask, global_attention_mask=torch.tensor(drawn).long())


def test_longformer_without_global_tokens():
    check(longformer(), input_ids=tokens(37, 2), attention_mask=padded(37, (37, 21), "right"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n", [41, 48])
def test_big_bird(n, training):
    """In training its random blocks are drawn by layer and head; NumPy's generator is left as it was."""
    mask = padded(n, (n, n - 9), "right")
    check(big_bird(), training, input_ids=tokens(n, 2), attention_mask=mask)
    model = sparsec.transformers.patch(big_bird()).train(training)
    before = np.random.get_state()[1].copy()
    model(tokens(n))
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.full
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n", [70, 250, 1000, 1024])
@pytest.mark.parametrize("count", [1, 3])
def test_big_bird_at_many_lengths(n, training, count):
    model = big_bird(num_random_blocks=count, block_size=16 if n > 999 else 4)
    given = {"input_ids": tokens(n, 2), "attention_mask": padded(n, (n, n // 2), "right")}
    if training and n == 1024:  # here, the model's own attention draws the last block, too, which all see besides
        patched = sparsec.transformers.patch(model).train()
        assert "random blocks that its window holds" in refused(lambda: patched(**given))
    else:
        check(model, training, **given)


def test_dropout_in_training_alone():
    model = sparsec.transformers.patch(longformer(attention_probs_dropout_prob=0.5))
    given = {"input_ids": tokens(30), "attention_mask": torch.ones(1, 30)}
    with torch.no_grad():
        assert torch.equal(model(**given)[0], model(**given)[0])
        model.train()
        assert not torch.equal(model(**given)[0], model(**given)[0])


def test_refusals():
    assert "attention that `patch` does not know" in refused(lambda: sparsec.transformers.patch(model_of("llama")))
    full = big_bird(attention_type="original_full")
    assert "original_full" in refused(lambda: sparsec.transformers.patch(full))
    for model, n in ((longformer(), 30), (big_bird(), 48)):
        patched = sparsec.transformers.patch(model)
        assert "output_attentions" in refused(lambda p=patched, n=n: p(tokens(n), output_attentions=True))
