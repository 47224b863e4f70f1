"""Launches in C: kernels that Triton compiled, one after the other, by one call from Python.

Triton's Python asks anew at each launch for hooks, scratch memory and descriptors, and its launcher takes each argument
as an object.  Here parameters lie in memory as the kernel takes them, and a call changes addresses and a few numbers.
The text, with that of `sparsec.kernels.native_launches` before it, is compiled as Triton compiles its own launchers, by
the same compiler into the same cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
from types import ModuleType

from sparsec.kernels.native_launches import LAUNCHES

_TEXT = r"""
/* chain(env): launches all kernels with what env has under the names, on the stream that it has under the last. */
static PyObject *chain_call(PyObject *self, PyObject *const *arguments, size_t flags, PyObject *keywords) {
  Chain *chain = (Chain *)self;
  Value values[MOST_NAMES];
  CUresult code = CUDA_SUCCESS;
  if (PyVectorcall_NARGS(flags) != 1 || keywords || !PyDict_Check(arguments[0])) {
    PyErr_SetString(PyExc_TypeError, "a chain takes a dict");
    return NULL;
  }
  Py_ssize_t last = PyTuple_GET_SIZE(chain->names) - 1;
  for (Py_ssize_t i = 0; i <= last; i++) {
    PyObject *name = PyTuple_GET_ITEM(chain->names, i), *x = PyDict_GetItemWithError(arguments[0], name);
    if (!x) {
      if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
      return NULL;
    }
    if (value_of(x, &values[i])) return NULL;
  }
  CUstream stream = (CUstream)values[last].bits;
  Py_BEGIN_ALLOW_THREADS  /* where the queue is full, a launch waits */
  code = run_chain(chain, values, stream);
  Py_END_ALLOW_THREADS
  if (code) {
    const char *said = "unknown error";
    describe(code, &said);
    return PyErr_Format(PyExc_RuntimeError, "Triton Error [CUDA]: %s", said);
  }
  Py_RETURN_NONE;
}

static void chain_free(PyObject *self) {
  Chain *chain = (Chain *)self;
  for (Py_ssize_t i = 0; i < chain->count; i++) {
    PyMem_Free(chain->kernels[i].places);
    PyMem_Free(chain->kernels[i].given);
    PyMem_Free(chain->kernels[i].filled);
    PyMem_Free(chain->kernels[i].last);
  }
  if (chain->exec) graphs.free_exec(chain->exec);
  if (chain->graph) graphs.free_graph(chain->graph);
  pthread_mutex_destroy(&chain->lock);
  PyMem_Free(chain->kernels);
  Py_XDECREF(chain->names);
  Py_TYPE(self)->tp_free(self);
}

/* From (function, grid, threads, shared bytes, parameters, places, given), given being (place, name, offset, kind). */
static int read_kernel(PyObject *line, Kernel *kernel, Py_ssize_t names) {
  const char *filled;
  Py_ssize_t bytes;
  PyObject *places, *given;
  unsigned long long function;
  CUlaunchConfig *config = &kernel->config;
  if (!PyArg_ParseTuple(line, "K(III)IIy#O!O!", &function, &config->gridDimX, &config->gridDimY, &config->gridDimZ,
                        &config->blockDimX, &config->sharedMemBytes, &filled, &bytes, &PyTuple_Type, &places,
                        &PyTuple_Type, &given))
    return -1;
  config->blockDimY = config->blockDimZ = 1;
  kernel->function = (CUfunction)function;
  kernel->bytes = bytes;
  kernel->parameters = PyTuple_GET_SIZE(places);
  kernel->given_count = PyTuple_GET_SIZE(given);
  if (bytes > MOST_BYTES || kernel->parameters > MOST_PARAMETERS) {
    PyErr_SetString(PyExc_ValueError, "a kernel with so many parameters");
    return -1;
  }
  kernel->filled = PyMem_Malloc(bytes + 1);
  kernel->last = PyMem_Malloc(bytes + 1);
  kernel->places = PyMem_Calloc(kernel->parameters + 1, sizeof(uint32_t));
  kernel->given = PyMem_Calloc(kernel->given_count + 1, sizeof(Given));
  if (!kernel->filled || !kernel->last || !kernel->places || !kernel->given) {
    PyErr_NoMemory();
    return -1;
  }
  memcpy(kernel->filled, filled, bytes);
  for (uint32_t i = 0; i < kernel->parameters; i++) {
    kernel->places[i] = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(places, i));
    if (PyErr_Occurred()) return -1;
    if (kernel->places[i] >= bytes) goto outside;
  }
  for (uint32_t i = 0; i < kernel->given_count; i++) {
    Given *one = &kernel->given[i];
    unsigned long long offset;
    if (!PyArg_ParseTuple(PyTuple_GET_ITEM(given, i), "IIKc", &one->place, &one->name, &offset, &one->kind)) return -1;
    one->offset = offset;
    if (one->place + (one->kind == 'm' ? sizeof(CUtensorMap) : 1) > (size_t)bytes || one->name >= names) goto outside;
  }
  return 0;
outside:
  PyErr_SetString(PyExc_ValueError, "a parameter lies outside of the others");
  return -1;
}

static PyObject *chain_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
  PyObject *names, *kernels;
  if (!PyArg_ParseTuple(arguments, "O!O!", &PyTuple_Type, &names, &PyList_Type, &kernels)) return NULL;
  if (!PyTuple_GET_SIZE(names) || PyTuple_GET_SIZE(names) > MOST_NAMES)
    return PyErr_Format(PyExc_ValueError, "a chain takes 1 to %d names", MOST_NAMES);
  Chain *chain = (Chain *)type->tp_alloc(type, 0);
  if (!chain) return NULL;
  chain->call = chain_call;
  pthread_mutex_init(&chain->lock, NULL);
  chain->names = Py_NewRef(names);
  chain->kernels = PyMem_Calloc(PyList_GET_SIZE(kernels) + 1, sizeof(Kernel));
  for (Py_ssize_t i = 0; chain->kernels && i < PyList_GET_SIZE(kernels); i++) {
    chain->count = i + 1;
    if (read_kernel(PyList_GET_ITEM(kernels, i), &chain->kernels[i], PyTuple_GET_SIZE(names))) break;
  }
  if (chain->kernels && !PyErr_Occurred()) return (PyObject *)chain;
  if (!PyErr_Occurred()) PyErr_NoMemory();
  Py_DECREF(chain);
  return NULL;
}

static PyMemberDef chain_members[] = {
  {"__vectorcalloffset__", T_PYSSIZET, offsetof(Chain, call), READONLY, NULL}, {NULL, 0, 0, 0, NULL}};

static PyTypeObject ChainType = {
  PyVarObject_HEAD_INIT(NULL, 0)
  .tp_name = "sparsec.Chain",
  .tp_basicsize = sizeof(Chain),
  .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
  .tp_vectorcall_offset = offsetof(Chain, call),
  .tp_call = PyVectorcall_Call,
  .tp_members = chain_members,
  .tp_new = chain_new,
  .tp_dealloc = chain_free,
};

/* The bytes of a tensor map that Triton has made. */
static PyObject *bytes_of_map(PyObject *self, PyObject *x) {
  if (Py_TYPE(x)->tp_basicsize != sizeof(MapObject)) return PyErr_Format(PyExc_TypeError, "not a tensor map");
  return PyBytes_FromStringAndSize((char *)&((MapObject *)x)->map, sizeof(CUtensorMap));
}

static PyObject *use(PyObject *self, PyObject *arguments) {
  unsigned long long launch, move, words, more[8] = {0};
  if (!PyArg_ParseTuple(arguments, "KKK|KKKKKKKK", &launch, &move, &words, &more[0], &more[1], &more[2], &more[3],
                        &more[4], &more[5], &more[6], &more[7]))
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
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
  {"bytes_of_map", bytes_of_map, METH_O, NULL}, {"use", use, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "sparsec_chain", NULL, -1, methods};

PyMODINIT_FUNC PyInit_sparsec_chain(void) {
  data_ptr = PyUnicode_InternFromString("data_ptr");
  PyObject *module = PyModule_Create(&definition);
  if (!data_ptr || !module || PyType_Ready(&ChainType) < 0) return NULL;
  if (PyModule_AddObjectRef(module, "Chain", (PyObject *)&ChainType) < 0) return NULL;
  return module;
}
"""
_DRIVER = "cuLaunchKernelEx", "cuTensorMapReplaceAddress", "cuGetErrorString"
_GRAPHS = (
    *("cuStreamIsCapturing", "cuGraphCreate", "cuGraphAddKernelNode_v2", "cuGraphInstantiateWithFlags"),
    *("cuGraphExecKernelNodeSetParams_v2", "cuGraphLaunch", "cuGraphDestroy", "cuGraphExecDestroy"),
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

    return compile_module_from_src(LAUNCHES + _TEXT, "sparsec_chain", include_dirs=include_dirs)
