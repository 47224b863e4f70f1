"""Launches in C, the third part: a call like one before, from the tensors that it gives to those that it returns.

Python asks whether a call is like the one that was prepared.  What is left then is the same every time: addresses of
its tensors, the stream, room for what it returns and for what its kernels leave for one another, and the launches.
"""

from __future__ import annotations

CALLS = r"""
typedef struct {
  PyObject_HEAD
  vectorcallfunc call;
  Chain *chain;
  Py_ssize_t given;           /* arguments */
  PyObject *likes;            /* a tuple of tensors like those that it makes */
  Py_ssize_t numbers;
  Value *fixed;               /* that many: the same at every call */
  uint32_t *sources;          /* of each name of the chain: arguments, made tensors, numbers, scratch room, stream */
  PyObject *functions;        /* empty_like, stream_of, take, give_back */
  PyObject *device, *scratch; /* its index, and bytes of scratch room or None */
} Known;

static PyObject *function_of(const Known *known, Py_ssize_t place) {
  return PyTuple_GET_ITEM(known->functions, place);
}

/* A tensor for each of the likes, and their addresses. */
static PyObject *make(const Known *known, Value *found) {
  Py_ssize_t count = PyTuple_GET_SIZE(known->likes);
  PyObject *made = PyTuple_New(count);
  for (Py_ssize_t i = 0; made && i < count; i++) {
    PyObject *one = PyObject_CallOneArg(function_of(known, 0), PyTuple_GET_ITEM(known->likes, i));
    if (one) PyTuple_SET_ITEM(made, i, one);
    if (!one || value_of(one, &found[i])) Py_CLEAR(made);
  }
  return made;
}

/* Gives scratch room back; an error that has been set stays. */
static int give_back(const Known *known, PyObject *room) {
  PyObject *kind, *error, *trace;
  PyErr_Fetch(&kind, &error, &trace);
  PyObject *nothing = PyObject_CallOneArg(function_of(known, 3), room);
  if (kind || nothing) PyErr_Restore(kind, error, trace);
  Py_XDECREF(nothing);
  return nothing ? 0 : -1;
}

/* Launches the chain with all of these values; the last two, scratch room and the stream, are found here. */
static int launch_known(const Known *known, Value *all, Value *room, PyObject *stream) {
  Value values[MOST_NAMES];
  PyObject *taken = NULL;
  if (known->scratch != Py_None) {
    PyObject *arguments[] = {known->scratch, stream};
    taken = PyObject_Vectorcall(function_of(known, 2), arguments, 2, NULL);
    if (!taken) return -1;
    if (value_of(taken, room)) {
      Py_DECREF(taken);
      return -1;
    }
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(known->chain->names); i++) values[i] = all[known->sources[i]];
  int failed = launched(known->chain, values, (CUstream)room[1].bits);
  if (taken) {
    failed |= give_back(known, taken);
    Py_DECREF(taken);
  }
  return failed;
}

/* known(*given): the tensor that it makes, or a tuple of several; None where a given one does not begin at a multiple
   of 16 bytes, as kernels are compiled for. */
static PyObject *known_call(PyObject *self, PyObject *const *arguments, size_t flags, PyObject *keywords) {
  const Known *known = (Known *)self;
  Value all[3 * MOST_NAMES];
  uint64_t begin = 0;
  if (PyVectorcall_NARGS(flags) != known->given || keywords)
    return PyErr_Format(PyExc_TypeError, "a known call takes %zd arguments", known->given);
  for (Py_ssize_t i = 0; i < known->given; i++) {
    if (value_of(arguments[i], &all[i])) return NULL;
    if (is_tensor(arguments[i])) begin |= all[i].bits;
  }
  if (begin % 16) Py_RETURN_NONE;
  Value *next = all + known->given;
  PyObject *made = make(known, next), *stream = NULL;
  if (!made) return NULL;
  next += PyTuple_GET_SIZE(made);
  if (known->numbers) memcpy(next, known->fixed, known->numbers * sizeof(Value));
  next += known->numbers;
  next[0] = (Value){0};  /* scratch room, where there is none */
  stream = PyObject_CallOneArg(function_of(known, 1), known->device);
  int failed = !stream || value_of(stream, &next[1]) || launch_known(known, all, next, stream);
  Py_XDECREF(stream);
  if (failed) Py_CLEAR(made);
  if (!made || PyTuple_GET_SIZE(made) != 1) return made;
  PyObject *only = Py_NewRef(PyTuple_GET_ITEM(made, 0));
  Py_DECREF(made);
  return only;
}

static void known_free(PyObject *self) {
  Known *known = (Known *)self;
  PyMem_Free(known->fixed);
  PyMem_Free(known->sources);
  Py_XDECREF(known->chain);
  Py_XDECREF(known->likes);
  Py_XDECREF(known->functions);
  Py_XDECREF(known->device);
  Py_XDECREF(known->scratch);
  Py_TYPE(self)->tp_free(self);
}

/* What a call gives besides the chain: (numbers, sources). */
static int read_known(Known *known, PyObject *numbers, PyObject *sources) {
  Py_ssize_t names = PyTuple_GET_SIZE(known->chain->names);
  Py_ssize_t most = known->given + PyTuple_GET_SIZE(known->likes) + known->numbers + 2;
  if (known->given < 0 || most > 3 * MOST_NAMES || PyTuple_GET_SIZE(sources) != names) {
    PyErr_SetString(PyExc_ValueError, "a known call takes a place for each name of its chain");
    return -1;
  }
  known->fixed = PyMem_Calloc(known->numbers + 1, sizeof(Value));
  known->sources = PyMem_Calloc(names, sizeof(uint32_t));
  if (!known->fixed || !known->sources) {
    PyErr_NoMemory();
    return -1;
  }
  for (Py_ssize_t i = 0; i < known->numbers; i++)
    if (value_of(PyTuple_GET_ITEM(numbers, i), &known->fixed[i])) return -1;
  for (Py_ssize_t i = 0; i < names; i++) {
    known->sources[i] = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(sources, i));
    if (PyErr_Occurred()) return -1;
    if (known->sources[i] >= most) {
      PyErr_SetString(PyExc_ValueError, "a name of a chain stands for nothing");
      return -1;
    }
  }
  return 0;
}

/* Known(chain, given, likes, numbers, sources, functions, device, scratch) */
static PyObject *known_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
  PyObject *chain, *likes, *numbers, *sources, *functions, *device, *scratch;
  Py_ssize_t given;
  if (!PyArg_ParseTuple(arguments, "O!nO!O!O!O!OO", &ChainType, &chain, &given, &PyTuple_Type, &likes, &PyTuple_Type,
                        &numbers, &PyTuple_Type, &sources, &PyTuple_Type, &functions, &device, &scratch))
    return NULL;
  if (PyTuple_GET_SIZE(functions) != 4) return PyErr_Format(PyExc_ValueError, "a known call takes 4 functions");
  Known *known = (Known *)type->tp_alloc(type, 0);
  if (!known) return NULL;
  known->call = known_call;
  known->chain = (Chain *)Py_NewRef(chain);
  known->given = given;
  known->likes = Py_NewRef(likes);
  known->numbers = PyTuple_GET_SIZE(numbers);
  known->functions = Py_NewRef(functions);
  known->device = Py_NewRef(device);
  known->scratch = Py_NewRef(scratch);
  if (!read_known(known, numbers, sources)) return (PyObject *)known;
  Py_DECREF(known);
  return NULL;
}

static PyMemberDef known_members[] = {
  {"__vectorcalloffset__", T_PYSSIZET, offsetof(Known, call), READONLY, NULL}, {NULL, 0, 0, 0, NULL}};

static PyTypeObject KnownType = {
  PyVarObject_HEAD_INIT(NULL, 0)
  .tp_name = "sparsec.Known",
  .tp_basicsize = sizeof(Known),
  .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
  .tp_vectorcall_offset = offsetof(Known, call),
  .tp_call = PyVectorcall_Call,
  .tp_members = known_members,
  .tp_new = known_new,
  .tp_dealloc = known_free,
};

"""
