"""Launches in C, the second part: a chain of launches, called with the tensors and numbers of a call by name.

Triton's Python asks anew at each launch for hooks, scratch memory and descriptors, and its launcher takes each argument
as an object.  Here parameters lie in memory as the kernel takes them, and a call changes addresses and a few numbers.
"""

from __future__ import annotations

CHAINS = r"""
static int launched(Chain *chain, const Value *values, CUstream stream) {
  CUresult code;
  Py_BEGIN_ALLOW_THREADS  /* where the queue is full, a launch waits */
  code = run_chain(chain, values, stream);
  Py_END_ALLOW_THREADS
  if (!code) return 0;
  const char *said = "unknown error";
  describe(code, &said);
  PyErr_Format(PyExc_RuntimeError, "Triton Error [CUDA]: %s", said);
  return -1;
}

/* chain(env): launches all kernels with what env has under the names, on the stream that it has under the last. */
static PyObject *chain_call(PyObject *self, PyObject *const *arguments, size_t flags, PyObject *keywords) {
  Chain *chain = (Chain *)self;
  Value values[MOST_NAMES];
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
  if (launched(chain, values, (CUstream)values[last].bits)) return NULL;
  Py_RETURN_NONE;
}

static void chain_free(PyObject *self) {
  Chain *chain = (Chain *)self;
  for (Py_ssize_t i = 0; i < chain->count; i++) {
    PyMem_Free(chain->kernels[i].places);
    PyMem_Free(chain->kernels[i].given);
    PyMem_Free(chain->kernels[i].filled);
  }
  free_graphs(chain);
  pthread_mutex_destroy(&chain->lock);
  PyMem_Free(chain->kernels);
  Py_XDECREF(chain->names);
  Py_TYPE(self)->tp_free(self);
}

/* From (function, grid, threads, shared bytes, parameters, places, given, beside), given being (place, name, offset,
   kind). */
static int read_kernel(PyObject *line, Kernel *kernel, Py_ssize_t names) {
  const char *filled;
  Py_ssize_t bytes;
  PyObject *places, *given;
  unsigned long long function;
  CUlaunchConfig *config = &kernel->config;
  if (!PyArg_ParseTuple(line, "K(III)IIy#O!O!|p", &function, &config->gridDimX, &config->gridDimY, &config->gridDimZ,
                        &config->blockDimX, &config->sharedMemBytes, &filled, &bytes, &PyTuple_Type, &places,
                        &PyTuple_Type, &given, &kernel->beside))
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
  kernel->places = PyMem_Calloc(kernel->parameters + 1, sizeof(uint32_t));
  kernel->given = PyMem_Calloc(kernel->given_count + 1, sizeof(Given));
  if (!kernel->filled || !kernel->places || !kernel->given) {
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
    if (one->place + size_of(one->kind) > (size_t)bytes || one->name >= names) goto outside;
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
    Kernel *kernel = &chain->kernels[i];
    if (read_kernel(PyList_GET_ITEM(kernels, i), kernel, PyTuple_GET_SIZE(names))) break;
    if (i) kernel->before = kernel[-1].before + kernel[-1].bytes;
    chain->launches += !is_empty(kernel);
  }
  if (chain->kernels && !PyErr_Occurred()) return (PyObject *)chain;
  if (!PyErr_Occurred()) PyErr_NoMemory();
  Py_DECREF(chain);
  return NULL;
}

static PyMemberDef chain_members[] = {
  {"__vectorcalloffset__", T_PYSSIZET, offsetof(Chain, call), READONLY, NULL},
  {"names", T_OBJECT_EX, offsetof(Chain, names), READONLY, NULL},
  {NULL, 0, 0, 0, NULL}};

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

"""
