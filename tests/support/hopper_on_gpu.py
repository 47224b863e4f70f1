"""The Hopper tier on a GPU, for its tests: whether it can run here, and what an operator has launched."""

from __future__ import annotations

import torch

from sparsec.kernels.hopper.forward.block_kernel import hopper_block_kernel
from sparsec.kernels.hopper.forward.kernel import hopper_forward_kernel
from sparsec.kernels.hopper.tier import known_gluon
from sparsec.kernels.launches.launch import Launch

HERE = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0) and known_gluon()


def forget(attend) -> None:
    """Has the next call of an operator prepare its passes anew."""
    module = attend.__globals__  # another test may have loaded the same text under the name of the module
    module["_PROGRAM"].passes.clear()
    module["_OPERATOR"].repeated.forget()


def launches(attend) -> list[Launch]:
    """What an operator has launched."""
    passes = attend.__globals__["_PROGRAM"].passes.values()
    return [step for each in passes for step in each.steps if isinstance(step, Launch)]


def on_hopper(attend, *kernels) -> bool:
    """Whether an operator has launched one of some kernels of the tier: of those forward, where none is given."""
    kernels = kernels or (hopper_forward_kernel, hopper_block_kernel)
    return any(launch.kernel in kernels for launch in launches(attend))


def gradients(attend, q, k, v, g, g_lse=None, **more) -> tuple[torch.Tensor, ...]:
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    out, lse = attend(q, k, v, return_lse=True, **more)
    if g_lse is None:
        return torch.autograd.grad(out, (q, k, v), g)
    return torch.autograd.grad((out, lse), (q, k, v), (g, g_lse))
