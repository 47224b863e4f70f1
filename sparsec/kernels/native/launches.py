"""Launches in C, the first part: parameters of a call in memory, and kernels launched one by one or as a graph.

To launch several kernels takes the driver some microseconds each; to launch a graph of them takes it less than one of
these, and to change the parameters of a node less than a microsecond.  So a chain of several kernels is a graph, made
at its second call on a stream, and changed where a call has other addresses or numbers: the driver copies parameters,
and launches that wait in the queue keep theirs.  A graph waits for its own last launch, also for one on another stream,
so each stream has a graph of its own.  Where a call is captured into a graph of the caller's, on streams beyond the
first few, and where the driver makes no graph, kernels are launched one by one.
"""

from __future__ import annotations

LAUNCHES = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cuda.h"
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define MOST_BYTES 4096
#define MOST_PARAMETERS 1024
#define MOST_NAMES 256
#define MOST_STREAMS 4  /* that have a graph of a chain */

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
typedef CUresult (*CaptureMode)(CUstreamCaptureMode *);
static struct {
  Capturing capturing;
  NewGraph make;
  AddKernel add;
  Instantiate instantiate;
  SetKernel set;
  LaunchGraph launch;
  FreeGraph free_graph;
  FreeExec free_exec;
  CaptureMode exchange_mode;
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
  char *filled;   /* parameters, those that a call gives left open */
  size_t before;  /* bytes of parameters of the kernels before it */
  int beside;     /* it need not wait for the kernel before it, but for what that one waits for */
} Kernel;

typedef struct {
  CUstream stream;
  uint64_t calls;  /* before there was a graph */
  CUgraph graph;
  CUgraphExec exec;
  CUgraphNode *nodes;  /* of the kernels with programs */
  char *last;          /* parameters of all kernels at the last call */
} Graph;

typedef struct {
  PyObject_HEAD
  vectorcallfunc call;
  PyObject *names;
  Py_ssize_t count;
  Kernel *kernels;
  pthread_mutex_t lock;  /* of the graphs */
  Graph graphs[MOST_STREAMS];
  Py_ssize_t launches;  /* kernels with programs */
  int alone;            /* a graph can't be had */
} Chain;

typedef struct { uint64_t bits; double real; } Value;

static int is_tensor(PyObject *x) { return !PyLong_Check(x) && !PyFloat_Check(x); }

static int value_of(PyObject *x, Value *found) {
  if (PyFloat_Check(x)) {
    *found = (Value){0, PyFloat_AS_DOUBLE(x)};
    return 0;
  }
  PyObject *number = PyLong_Check(x) ? Py_NewRef(x) : PyObject_CallMethodNoArgs(x, data_ptr);
  if (!number) return -1;
  found->bits = PyLong_AsUnsignedLongLongMask(number);
  found->real = PyLong_Check(x) ? PyLong_AsDouble(x) : 0;
  Py_DECREF(number);
  return PyErr_Occurred() ? -1 : 0;
}

static size_t size_of(char kind) {
  return kind == 'm' ? sizeof(CUtensorMap) : kind == 'b' ? 1 : kind == 'h' ? 2 : kind == 'f' || kind == 'i' ? 4 : 8;
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

/* The kernel in a graph of its chain: a node behind some others, or other parameters, those of a call. */
static CUresult put(Graph *graph, const Kernel *kernel, CUgraphNode *node, const CUgraphNode *behind, size_t count,
                    const Value *values) {
  _Alignas(128) char memory[MOST_BYTES];
  void *parameters[MOST_PARAMETERS];
  const CUlaunchConfig *config = &kernel->config;
  char *last = graph->last + kernel->before;
  CUresult code = lay(kernel, values, memory, parameters);
  if (code || (graph->exec && !memcmp(memory, last, kernel->bytes))) return code;
  CUDA_KERNEL_NODE_PARAMS told = {
    .func = kernel->function, .gridDimX = config->gridDimX, .gridDimY = config->gridDimY,
    .gridDimZ = config->gridDimZ, .blockDimX = config->blockDimX, .blockDimY = config->blockDimY,
    .blockDimZ = config->blockDimZ, .sharedMemBytes = config->sharedMemBytes, .kernelParams = parameters};
  code = graph->exec ? graphs.set(graph->exec, *node, &told)
                     : graphs.add(node, graph->graph, count ? behind : NULL, count, &told);
  if (!code) memcpy(last, memory, kernel->bytes);
  return code;
}

/* The graph of a stream, or room for it; NULL where there is no more. */
static Graph *graph_of(Chain *chain, CUstream stream) {
  for (int i = 0; i < MOST_STREAMS; i++) {
    Graph *graph = &chain->graphs[i];
    if (!graph->calls) graph->stream = stream;
    if (graph->stream == stream) return graph;
  }
  return NULL;
}

/* The graph with the parameters of a call, made where there is none. */
static CUresult prepare(const Chain *chain, Graph *graph, const Value *values) {
  Py_ssize_t made = 0, first = 0, behind = 0;  /* nodes; where those side by side begin, and those that they wait for */
  int apart = 1;
  CUresult code = CUDA_SUCCESS;
  if (!graph->graph) {
    const Kernel *end = &chain->kernels[chain->count - 1];
    graph->nodes = calloc(chain->count, sizeof(CUgraphNode));
    graph->last = malloc(end->before + end->bytes);
    code = graph->nodes && graph->last ? graphs.make(&graph->graph, 0) : CUDA_ERROR_OUT_OF_MEMORY;
  }
  for (Py_ssize_t i = 0; i < chain->count && !code; i++) {
    const Kernel *kernel = &chain->kernels[i];
    apart |= !kernel->beside;
    if (is_empty(kernel)) continue;
    if (apart) {
      behind = first;
      first = made;
      apart = 0;
    }
    code = put(graph, kernel, &graph->nodes[made++], &graph->nodes[behind], first - behind, values);
  }
  return code || graph->exec ? code : graphs.instantiate(&graph->exec, graph->graph, 0);
}

/* Launches a chain as a graph; CUDA_ERROR_NOT_READY where its kernels are to be launched one by one. */
static CUresult run_graph(Chain *chain, const Value *values, CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;  /* others may capture: this is no part of it */
  Graph *graph = graph_of(chain, stream);
  if (!graph || !graph->calls++) return CUDA_ERROR_NOT_READY;
  if (graphs.capturing(stream, &status) || status != CU_STREAM_CAPTURE_STATUS_NONE) return CUDA_ERROR_NOT_READY;
  CUresult code = graphs.exchange_mode(&mode);
  if (code) return code;
  code = prepare(chain, graph, values);
  if (!code) code = graphs.launch(graph->exec, stream);
  graphs.exchange_mode(&mode);
  return code;
}

static CUresult run_chain(Chain *chain, const Value *values, CUstream stream) {
  CUresult code = CUDA_ERROR_NOT_READY;
  if (graphs.launch && chain->launches > 1) {
    pthread_mutex_lock(&chain->lock);
    if (!chain->alone) code = run_graph(chain, values, stream);
    if (code && code != CUDA_ERROR_NOT_READY) chain->alone = 1;
    pthread_mutex_unlock(&chain->lock);
    if (!code) return code;
  }
  code = CUDA_SUCCESS;
  for (Py_ssize_t i = 0; i < chain->count && !code; i++) code = run(&chain->kernels[i], values, stream);
  return code;
}

static void free_graphs(Chain *chain) {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  int relaxed = graphs.exchange_mode && !graphs.exchange_mode(&mode);
  for (int i = 0; i < MOST_STREAMS; i++) {  /* the driver frees what still runs when it has ended */
    Graph *graph = &chain->graphs[i];
    if (graph->exec && graphs.free_exec) graphs.free_exec(graph->exec);
    if (graph->graph && graphs.free_graph) graphs.free_graph(graph->graph);
    free(graph->nodes);
    free(graph->last);
  }
  if (relaxed) graphs.exchange_mode(&mode);
}
"""
