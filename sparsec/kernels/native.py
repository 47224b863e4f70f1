"""Launches in C: kernels that Triton compiled, one after the other, by one call from Python.

Triton's Python asks anew at each launch for hooks, scratch memory and descriptors, and its launcher takes each argument
as an object.  Here parameters lie in memory as the kernel takes them, and a call changes addresses and a few numbers.
The text is compiled as Triton compiles its own launchers, by the same compiler into the same cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
from types import ModuleType

_TEXT = r"""
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include "cuda.h"
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define MOST_BYTES 4096
#define MOST_PARAMETERS 1024
#define MOST_NAMES 256

typedef CUresult (*Launch)(const CUlaunchConfig *, CUfunction, void **, void **);
typedef CUresult (*Move)(CUtensorMap *, void *);
typedef CUresult (*Describe)(CUresult, const char **);
static Launch launch_kernel;
static Move move_map;
static Describe describe;

/* Functions of the driver for graphs of launches; without these, kernels are launched one by one. */
typedef CUresult (*Capturing)(CUstream, CUstreamCaptureStatus *);
typedef CUresult (*NewGraph)(CUgraph *, unsigned int);
typedef CUresult (*AddKernel)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_KERNEL_NODE_PARAMS *);
typedef CUresult (*Instantiate)(CUgraphExec *, CUgraph, unsigned long long);
typedef CUresult (*SetKernel)(CUgraphExec, CUgraphNode, const CUDA_KERNEL_NODE_PARAMS *);
typedef CUresult (*LaunchGraph)(CUgraphExec, CUstream);
typedef CUresult (*FreeGraph)(CUgraph);
typedef CUresult (*FreeExec)(CUgraphExec);
static struct {
  Capturing capturing;
  NewGraph make;
  AddKernel add;
  Instantiate instantiate;
  SetKernel set;
  LaunchGraph launch;
  FreeGraph free_graph;
  FreeExec free_exec;
} graphs;
static PyObject *data_ptr;

typedef struct { PyObject_HEAD; _Alignas(128) CUtensorMap map; } MapObject;  /* as in Triton's driver.c */

typedef struct { uint32_t place, name; uint64_t offset; char kind; } Given;  /* what a call gives of a parameter */

typedef struct {
  CUlaunchConfig config;
  CUfunction function;
  uint32_t bytes, parameters, given_count;
  uint32_t *places;
  Given *given;
  char *filled;  /* parameters, those that a call gives left open */
  char *last;    /* those of the last call, in the graph */
  CUgraphNode node;
} Kernel;

typedef struct {
  PyObject_HEAD
  vectorcallfunc call;
  PyObject *names;
  Py_ssize_t count;
  Kernel *kernels;
  pthread_mutex_t lock;  /* of the graph */
  CUgraph graph;
  CUgraphExec exec;
  int alone;  /* a graph can't be had */
} Chain;

typedef struct { uint64_t bits; double real; } Value;

static int value_of(PyObject *x, Value *found) {
  if (PyFloat_Check(x)) {
    found->real = PyFloat_AS_DOUBLE(x);
    return 0;
  }
  PyObject *number = PyLong_Check(x) ? Py_NewRef(x) : PyObject_CallMethodNoArgs(x, data_ptr);
  if (!number) return -1;
  found->bits = PyLong_AsUnsignedLongLongMask(number);
  found->real = PyLong_Check(x) ? PyLong_AsDouble(x) : 0;
  Py_DECREF(number);
  return PyErr_Occurred() ? -1 : 0;
}

static CUresult fill(char *memory, const Given *given, const Value *value) {
  char *at = memory + given->place;
  uint64_t bits = value->bits + given->offset;
  float single = (float)value->real;
  switch (given->kind) {
  case 'm': return move_map((CUtensorMap *)at, (void *)bits);
  case 'f': memcpy(at, &single, 4); break;
  case 'd': memcpy(at, &value->real, 8); break;
  case 'b': memcpy(at, &bits, 1); break;
  case 'h': memcpy(at, &bits, 2); break;
  case 'i': memcpy(at, &bits, 4); break;
  default: memcpy(at, &bits, 8);
  }
  return CUDA_SUCCESS;
}

static int is_empty(const Kernel *kernel) {
  const CUlaunchConfig *config = &kernel->config;
  return !config->gridDimX || !config->gridDimY || !config->gridDimZ;
}

/* Parameters of a call, and where each of them begins. */
static CUresult lay(const Kernel *kernel, const Value *values, char *memory, void **parameters) {
  memcpy(memory, kernel->filled, kernel->bytes);
  for (uint32_t i = 0; i < kernel->given_count; i++) {
    CUresult code = fill(memory, &kernel->given[i], &values[kernel->given[i].name]);
    if (code) return code;
  }
  for (uint32_t i = 0; i < kernel->parameters; i++) parameters[i] = memory + kernel->places[i];
  return CUDA_SUCCESS;
}

static CUresult run(const Kernel *kernel, const Value *values, CUstream stream) {
  _Alignas(128) char memory[MOST_BYTES];
  void *parameters[MOST_PARAMETERS];
  if (is_empty(kernel)) return CUDA_SUCCESS;
  CUresult code = lay(kernel, values, memory, parameters);
  if (code) return code;
  CUlaunchConfig config = kernel->config;
  config.hStream = stream;
  return launch_kernel(&config, kernel->function, parameters, NULL);
}

/* The kernel in the graph of its chain: a node behind another one, or other parameters, those of a call. */
static CUresult put(Chain *chain, Kernel *kernel, const Value *values, const Kernel *before) {
  _Alignas(128) char memory[MOST_BYTES];
  void *parameters[MOST_PARAMETERS];
  const CUlaunchConfig *config = &kernel->config;
  CUresult code = lay(kernel, values, memory, parameters);
  if (code || (chain->exec && !memcmp(memory, kernel->last, kernel->bytes))) return code;
  CUDA_KERNEL_NODE_PARAMS node = {
    .func = kernel->function, .gridDimX = config->gridDimX, .gridDimY = config->gridDimY,
    .gridDimZ = config->gridDimZ, .blockDimX = config->blockDimX, .blockDimY = config->blockDimY,
    .blockDimZ = config->blockDimZ, .sharedMemBytes = config->sharedMemBytes, .kernelParams = parameters};
  if (chain->exec)
    code = graphs.set(chain->exec, kernel->node, &node);
  else
    code = graphs.add(&kernel->node, chain->graph, before ? &before->node : NULL, before != NULL, &node);
  if (!code) memcpy(kernel->last, memory, kernel->bytes);
  return code;
}

/* Launches a chain as a graph, which costs the host less than launches; not what is captured into another graph. */
static CUresult run_graph(Chain *chain, const Value *values, CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  Kernel *before = NULL;
  CUresult code = graphs.capturing(stream, &status);
  if (code || status != CU_STREAM_CAPTURE_STATUS_NONE) return CUDA_ERROR_NOT_SUPPORTED;
  if (!chain->graph) code = graphs.make(&chain->graph, 0);
  for (Py_ssize_t i = 0; i < chain->count && !code; i++) {
    if (is_empty(&chain->kernels[i])) continue;
    code = put(chain, &chain->kernels[i], values, before);
    before = &chain->kernels[i];
  }
  if (!code && !before) return CUDA_SUCCESS;
  if (!code && !chain->exec) code = graphs.instantiate(&chain->exec, chain->graph, 0);
  if (!code) code = graphs.launch(chain->exec, stream);
  if (code) chain->alone = 1;
  return code;
}

static CUresult run_chain(Chain *chain, const Value *values, CUstream stream) {
  CUresult code = CUDA_ERROR_NOT_SUPPORTED;
  if (graphs.launch && chain->count > 1) {
    pthread_mutex_lock(&chain->lock);
    if (!chain->alone) code = run_graph(chain, values, stream);
    pthread_mutex_unlock(&chain->lock);
    if (!code) return code;
  }
  code = CUDA_SUCCESS;
  for (Py_ssize_t i = 0; i < chain->count && !code; i++) code = run(&chain->kernels[i], values, stream);
  return code;
}

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
_GRAPHS = "cuStreamIsCapturing", "cuGraphCreate", "cuGraphAddKernelNode_v2", "cuGraphInstantiateWithFlags"
_GRAPHS += "cuGraphExecKernelNodeSetParams_v2", "cuGraphLaunch", "cuGraphDestroy", "cuGraphExecDestroy"


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

    return compile_module_from_src(_TEXT, "sparsec_chain", include_dirs=include_dirs)
