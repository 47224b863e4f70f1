"""A model with sparsec's attention, beside the same model with a dense mask."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from sparsec.transformers.capture import told_of_attention
from sparsec.transformers.dense import NAME
from sparsec.transformers.layers import layer_pattern
from sparsec.transformers.models import attention_layers
from sparsec.transformers.refusal import refusal


@dataclass(frozen=True, slots=True)
class Check:
    """The largest share of its bound that an error reached, over all lengths; above 1 it does not hold."""

    what: str
    against: str
    share: float

    @property
    def holds(self) -> bool:
        return self.share <= 1


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found; `print` shows it."""

    model: str
    lengths: tuple[int, ...]
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every error is within its bound."""
        return all(check.holds for check in self.checks)

    def __str__(self) -> str:
        lines = [f"{self.model} at n = {', '.join(map(str, self.lengths))}: errors as shares of their bounds"]
        for check in self.checks:
            told = "" if check.holds else "   DOES NOT HOLD"
            lines.append(f"  {check.what:<12} against {check.against:<34} {check.share:8.3f}{told}")
        return "\n".join(lines)


def verify(model: PreTrainedModel, *, lengths: Sequence[int] = (1, 7, 48, 97), seed: int = 0) -> Report:
    """Compare logits, gradients, decoding and padding of a model with those of the same model over dense masks.

        report = sparsec.transformers.verify(model)
        assert report.holds, report

    Tokens are random, two rows of each of the `lengths`; take some that are longer than the windows of the model.  The
    dense masks are those of `attn_implementation="eager"`, or of the patterns that `use` put there.  Bounds are twice
    what changes where each weight is rounded once more, which takes a copy of the model.  Nothing of the model
    changes: training, attention and gradients are afterwards what they were.

    Raises SparsecError for what the attention refuses, for models that take no `input_ids`, and for those that have
    attention of their own, which would be compared with itself.
    """
    if model.main_input_name != "input_ids":
        raise refusal(f"`{model.main_input_name}`, where `verify` draws tokens", "compare it with eager by hand", model)
    own = any(layer_pattern(module) is not None for _, module in attention_layers(model))
    dense = NAME if own else "eager"
    drawn = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    with _as_it_was(model):
        rounded = _rounded(model, drawn)
        for n in lengths:
            size = model.config.get_text_config().vocab_size
            tokens = torch.randint(size, (2, n), generator=drawn).to(model.device)
            expected, moved = _gradients(model, dense, tokens), _gradients(rounded, dense, tokens)
            with _attending(model):
                ours = _gradients(model, "sparsec", tokens)
            least = _norm(*expected[1:])
            shares = [_share(ours[0], expected[0], moved[0])]
            shares += [_share(*each, least) for each in zip(ours[1:], expected[1:], moved[1:], strict=True)]
            found.setdefault("logits", []).append(shares[0])
            found.setdefault("gradients", []).append(max(shares[1:], default=0.0))
            if model.can_generate() and n > 1:
                whole = (expected[0], moved[0]) if own else (_decoded(each, dense, tokens) for each in (model, rounded))
                found.setdefault("decoding", []).append(_share(_decoded(model, "sparsec", tokens), *whole))
            for left in (False, True) if n > 2 else ():
                alone = _alone if own else partial(_padded, left=left)
                rows = (
                    _padded(model, "sparsec", tokens, left),
                    *(alone(each, dense, tokens) for each in (model, rounded)),
                )
                found.setdefault("padding", []).append(_share(*rows))
    against = {"decoding": ", all at once", "padding": ", the row alone"} if own else {}
    named = "the pattern's mask" if own else "eager"
    checks = [Check(what, named + against.get(what, ""), max(shares)) for what, shares in found.items()]
    return Report(type(model).__name__, tuple(lengths), tuple(checks))


@contextmanager
def _attending(model: PreTrainedModel) -> Iterator[None]:
    """SparsecError where nothing in a model attends by sparsec meanwhile."""
    asked: set[str] = set()
    with told_of_attention(lambda implementation, *more: asked.add(implementation)):
        yield
    if "sparsec" not in asked:
        hint = "transformers replaces attention in models that ask for it; `sparsec.nn.Attend` goes into any module"
        raise refusal("attention of its own", hint, model)


def _share(ours: Tensor, expected: Tensor, moved: Tensor, size: float = 0.0) -> float:
    """The error as a share of its bound: twice the change that rounding made, and the last place of `size`."""
    bound = 2 * _norm(moved - expected) + torch.finfo(expected.dtype).eps * max(size, _norm(expected))
    return _norm(ours - expected) / (bound or 1.0)


def _norm(*tensors: Tensor) -> float:
    return sum(float(each.detach().double().square().sum()) for each in tensors) ** 0.5


def _rounded(model: PreTrainedModel, drawn: torch.Generator) -> PreTrainedModel:
    """A copy whose weights are off by one unit of the last place."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.is_floating_point():
                sign = torch.randint(2, weight.shape, generator=drawn).to(weight.device, weight.dtype) * 2 - 1
                weight.mul_(1 + torch.finfo(weight.dtype).eps * sign)
    return other


def _outputs(model: PreTrainedModel, implementation: str, tokens: Tensor, **given: object) -> Tensor:
    """Logits, or hidden states of a model without them."""
    model.set_attn_implementation(implementation)
    if "position_ids" in given and "position_ids" not in inspect.signature(model.forward).parameters:
        del given["position_ids"]
    return model(tokens, **given)[0]


def _gradients(model: PreTrainedModel, implementation: str, tokens: Tensor) -> list[Tensor]:
    """The outputs, and the gradient of each weight that has one."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    out = _outputs(model, implementation, tokens)
    loss = out.float().square().mean()
    gradients = torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else ()
    return [out.detach(), *(each for each in gradients if each is not None)]


@torch.no_grad()
def _decoded(model: PreTrainedModel, implementation: str, tokens: Tensor) -> Tensor:
    """Logits with a cache: half of the tokens at once, then one by one."""
    model.set_attn_implementation(implementation)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    given = {name: DynamicCache(config=model.config.get_text_config()), "use_cache": True}
    half = tokens.shape[1] // 2
    pieces = tokens.split([half, *[1] * (tokens.shape[1] - half)], 1)
    return torch.cat([model(piece, **given).logits for piece in pieces], 1)


def _shorter(tokens: Tensor) -> int:
    """How many tokens the second row has where a third of it is padding."""
    return tokens.shape[1] - tokens.shape[1] // 3


@torch.no_grad()
def _alone(model: PreTrainedModel, implementation: str, tokens: Tensor) -> Tensor:
    """Outputs of the tokens that `_padded` leaves of the second row."""
    return _outputs(model, implementation, tokens[1:, : _shorter(tokens)])


@torch.no_grad()
def _padded(model: PreTrainedModel, implementation: str, tokens: Tensor, left: bool) -> Tensor:
    """Outputs of the second row's tokens, where a third of it is padding, on the left or on the right."""
    n, count = tokens.shape[1], _shorter(tokens)
    place = slice(n - count, n) if left else slice(count)
    mask, rows = torch.ones_like(tokens), tokens.clone()
    mask[1], rows[1, place] = 0, tokens[1, :count]
    mask[1, place] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return _outputs(model, implementation, rows, attention_mask=mask, position_ids=positions)[1:, place]


@contextmanager
def _as_it_was(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout for the while; attention and training are put back."""
    implementation, training = model.config._attn_implementation, model.training
    try:
        model.eval()
        yield
    finally:
        model.train(training)
        model.set_attn_implementation(implementation)
