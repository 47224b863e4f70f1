"""Kernels loaded by several threads: each has its own launcher, although Triton gives all of them one name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from triton.runtime import driver
from triton.runtime.build import compile_module_from_src

from sparsec.kernels.launches.compiling import load
from sparsec.kernels.launches.launch import Launch, Meta, Pass
from sparsec.kernels.program.program import Program

COUNT, ROUNDS = 4, 60
NAME = "__triton_launcher"  # of all launchers of Triton 3.6
TEXT = """
#include <Python.h>
static PyObject *launch(PyObject *self, PyObject *arguments) { return PyLong_FromLong(%d); }
static PyMethodDef methods[] = {{"launch", launch, METH_VARARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "__triton_launcher", NULL, -1, methods};
PyMODINIT_FUNC PyInit___triton_launcher(void) { return PyModule_Create(&module); }
"""


class Compiled:
    """A compiled kernel as Triton has it: loaded when `run` is first asked for."""

    def __init__(self, number: int) -> None:
        self.src, self.metadata, self.launcher = number, None, None

    @property
    def run(self) -> Any:
        self.launcher = self.launcher or driver.active.launcher_cls(self.src, self.metadata)
        return self.launcher


class Kernel:
    """A kernel of Triton's language, compiled and loaded by its first launch."""

    arg_names = ()

    def __init__(self, number: int) -> None:
        self.number, self.launched_by = number, -1

    def __getitem__(self, grid: tuple[int, int, int]) -> Any:
        def launch(**options: object) -> None:
            self.launched_by = Compiled(self.number).run()

        return launch


@pytest.fixture
def launchers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each kernel's launcher returns the number of the kernel, and threads take turns as often as can be."""

    def launcher(number: int, metadata: None) -> Any:
        return compile_module_from_src(TEXT % number, NAME).launch

    monkeypatch.setattr(driver, "_active", SimpleNamespace(launcher_cls=launcher))
    for number in range(COUNT):
        assert launcher(number, None)() == number
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    sys.modules.pop(NAME, None)


def test_threads_of_a_pass(launchers: None) -> None:
    with ThreadPoolExecutor(COUNT) as threads:
        for _ in range(ROUNDS):
            kernels = [Compiled(number) for number in range(COUNT)]
            load(kernels, threads)
            assert [kernel.run() for kernel in kernels] == [*range(COUNT)]


def test_passes_in_several_threads(launchers: None) -> None:
    """One has its kernels compiled side by side, others launch one that nothing has compiled before."""

    def pass_of_several(first: int) -> list[int]:
        kernels = [Compiled((first + place) % COUNT) for place in range(COUNT)]
        with ThreadPoolExecutor(COUNT) as threads:
            load(kernels, threads)
        return [kernel.run() for kernel in kernels]

    def pass_of_one(number: int) -> int:
        run = Pass(Program(groups=(), min_tile=16, most_positions=1 << 30), Q=Meta.of(torch.empty(1)))
        kernel = Kernel(number)
        Launch(run, kernel, (1, 1, 1), {}, {})({})
        return kernel.launched_by

    with ThreadPoolExecutor(2 * COUNT) as threads:
        for _ in range(ROUNDS // 4):
            several = [threads.submit(pass_of_several, first) for first in range(COUNT)]
            alone = [threads.submit(pass_of_one, number) for number in range(COUNT)]
            for number in range(COUNT):
                assert several[number].result() == [(number + place) % COUNT for place in range(COUNT)]
                assert alone[number].result() == number
