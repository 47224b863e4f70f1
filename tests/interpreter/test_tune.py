"""Settings tried on the kernels of real modules, in Triton's interpreter: right ones pass, wrong ones are refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sparsec import pipeline
from sparsec.bench.setting import Setting
from sparsec.codegen.tuned import Tuned
from sparsec.kernels.launches.launch import Launch
from sparsec.plan.build import spread
from sparsec.source import Source
from sparsec.tuning.subject import GpuSubject, kinds, usual

CPU = torch.device("cpu")
LAUNCHED = Launch.__call__
SMALL = Setting(n=32, heads=2, kv_heads=1, head_size=16, dtype="fp16")
OTHER = {"forward": (16, 32, 4, 1, None), "dq": (32, 16, 4, 1, None), "dkdv": (16, 16, 4, 1, None)}


def opened(made: pipeline.Compiled, setting: Setting = SMALL) -> GpuSubject:
    return GpuSubject(made, setting, CPU)


def of(text: str, heads: int | None = None) -> pipeline.Compiled:
    """Compiled, over layouts where there are any for it, however short the sequence."""
    made = pipeline.compile(Source("test", text), heads=heads, tuned=Tuned())
    groups = []
    for each in made.plan.groups:
        apart = spread(each.condition)
        groups.append(replace(each, variants=(apart,)) if apart else each)
    return replace(made, plan=replace(made.plan, groups=tuple(groups)))


@pytest.mark.parametrize("text", ["causal & (past(8) | stride(6))", "window(8) | global(3)", "k % 16 < 3"])
def test_right_settings(text: str) -> None:
    made = of(f"pattern p = {text}")
    subject = opened(made)
    kernels = subject.kernels()
    assert {(place.kernel, place.shape): each for place, each in kernels.items()} == usual(made, SMALL, CPU)
    assert {(place.tier, place.dtype, place.head_size) for place in kernels} == {("small", "fp16", 16)}
    for place in kernels:
        assert subject.refusal(place, OTHER[place.kernel]) is None
        assert subject.turn(place, OTHER[place.kernel]) > 0
    assert not subject.chosen


def test_heads_of_one_kind_are_tried_together() -> None:
    made = of("pattern p = match h { 0 -> past(9), else -> past(8) }", heads=2)
    subject = opened(made)
    assert len(kinds(made.plan, SMALL.n)) == len(subject.kernels())  # they share their kernels
    for place in subject.kernels():
        assert subject.refusal(place, OTHER[place.kernel]) is None


@pytest.mark.parametrize(
    ("kernel", "spoilt", "said"),
    [("forward", "OUT", "its out differs"), ("dq", "DQ", "its dq differs"), ("dkdv", "DK", "its dk differs")],
)
def test_wrong_settings(monkeypatch: pytest.MonkeyPatch, kernel: str, spoilt: str, said: str) -> None:
    """A setting under which one tile comes out wrong."""
    subject = opened(of("pattern p = past(9)"))

    def wrong(launch: Launch, env: dict) -> None:
        LAUNCHED(launch, env)
        if subject.chosen and launch.name == kernel:
            env[spoilt][:, :, 16:32] *= 1.5

    monkeypatch.setattr(Launch, "__call__", wrong)
    [place] = [place for place in subject.kernels() if place.kernel == kernel]
    assert subject.refusal(place, OTHER[kernel]).startswith(said)
    monkeypatch.setattr(Launch, "__call__", LAUNCHED)
    assert subject.refusal(place, OTHER[kernel]) is None


def test_what_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = opened(of("pattern p = past(9)"))

    def failing(*_: object) -> None:
        raise ValueError("no\nroom")

    monkeypatch.setattr(Launch, "__call__", failing)
    place = next(iter(subject.kernels()))
    assert subject.refusal(place, OTHER["forward"]) == "ValueError: no room"
    assert not subject.chosen


def test_spills(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a setting spills beyond the usual one; kernels compiled before it do not count."""
    subject = opened(of("pattern p = past(9)"))

    def noted(launch: Launch, env: dict) -> None:
        launch.compiled.pop(launch.key, None)
        LAUNCHED(launch, env)
        block_m = launch.arguments[launch.kernel.arg_names.index("BLOCK_M")]
        launch.compiled[launch.key] = SimpleNamespace(n_spills=3 if subject.chosen and block_m == 32 else 0)

    monkeypatch.setattr(Launch, "__call__", noted)
    [place] = [place for place in subject.kernels() if place.kernel == "dq"]
    assert subject.refusal(place, (32, 16, 4, 1, None)) == "it spills 3 registers"
    assert subject.refusal(place, (16, 16, 4, 1, None)) is None


def test_the_digest_covers_the_shapes() -> None:
    made = of("pattern p = past(9)")
    digests = {opened(made, setting).digest for setting in (SMALL, replace(SMALL, n=49), replace(SMALL, kv_heads=2))}
    assert len(digests) == 3
    assert opened(made).digest in digests
