"""Launches in C: kernels that Triton compiled, one after the other, by one call from Python.

The text, in parts, is compiled as Triton compiles its own launchers, by the same compiler into the same cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
from types import ModuleType

from sparsec.kernels.native.calls import CALLS
from sparsec.kernels.native.chains import CHAINS
from sparsec.kernels.native.launches import LAUNCHES

_MODULE = r"""
/* The bytes of a tensor map that Triton has made. */
static PyObject *bytes_of_map(PyObject *self, PyObject *x) {
  if (Py_TYPE(x)->tp_basicsize != sizeof(MapObject)) return PyErr_Format(PyExc_TypeError, "not a tensor map");
  return PyBytes_FromStringAndSize((char *)&((MapObject *)x)->map, sizeof(CUtensorMap));
}

static PyObject *use(PyObject *self, PyObject *arguments) {
  unsigned long long launch, move, words, more[9] = {0};
  if (!PyArg_ParseTuple(arguments, "KKK|KKKKKKKKK", &launch, &move, &words, &more[0], &more[1], &more[2], &more[3],
                        &more[4], &more[5], &more[6], &more[7], &more[8]))
    return NULL;
  launch_kernel = (Launch)launch;
  move_map = (Move)move;
  describe = (Describe)words;
  graphs.capturing = (Capturing)more[0];
  graphs.make = (NewGraph)more[1];
  graphs.add = (AddKernel)more[2];
  graphs.instantiate = (Instantiate)more[3];
  graphs.set = (SetKernel)more[4];
  graphs.launch = (LaunchGraph)more[5];
  graphs.free_graph = (FreeGraph)more[6];
  graphs.free_exec = (FreeExec)more[7];
  graphs.exchange_mode = (CaptureMode)more[8];
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
  {"bytes_of_map", bytes_of_map, METH_O, NULL}, {"use", use, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "sparsec_chain", NULL, -1, methods};

PyMODINIT_FUNC PyInit_sparsec_chain(void) {
  data_ptr = PyUnicode_InternFromString("data_ptr");
  PyObject *module = PyModule_Create(&definition);
  if (!data_ptr || !module || PyType_Ready(&ChainType) < 0 || PyType_Ready(&KnownType) < 0) return NULL;
  if (PyModule_AddObjectRef(module, "Chain", (PyObject *)&ChainType) < 0) return NULL;
  if (PyModule_AddObjectRef(module, "Known", (PyObject *)&KnownType) < 0) return NULL;
  return module;
}
"""
_DRIVER = "cuLaunchKernelEx", "cuTensorMapReplaceAddress", "cuGetErrorString"
_GRAPHS = (
    *("cuStreamIsCapturing", "cuGraphCreate", "cuGraphAddKernelNode_v2", "cuGraphInstantiateWithFlags"),
    *("cuGraphExecKernelNodeSetParams_v2", "cuGraphLaunch", "cuGraphDestroy", "cuGraphExecDestroy"),
    "cuThreadExchangeStreamCaptureMode",
)


@functools.cache
def native() -> ModuleType | None:
    """The compiled text, at work with the driver of this machine; None where one of both is missing."""
    with contextlib.suppress(OSError, AttributeError, RuntimeError, ImportError, subprocess.SubprocessError):
        driver = ctypes.CDLL("libcuda.so.1")
        addresses = [ctypes.cast(getattr(driver, name), ctypes.c_void_p).value for name in (*_DRIVER, *_GRAPHS)]
        made = compiled_text()
        made.use(*addresses)
        return made
    return None


def compiled_text() -> ModuleType:
    """The module of the text, which knows no driver yet."""
    from triton.backends.nvidia.driver import include_dirs
    from triton.runtime.build import compile_module_from_src

    return compile_module_from_src(LAUNCHES + CHAINS + CALLS + _MODULE, "sparsec_chain", include_dirs=include_dirs)
