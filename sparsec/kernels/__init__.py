"""What generated modules are made of: device functions, launches, the CPU path, tables, the registered operator.

`support` has the names that generated modules use; `operator` is a call, from which everything else can be followed
down.  A table at the end of docs/architecture.md says what each folder does and which may import which.

What `support` needs is written beside a generated module as one file (sparsec.codegen.support); it needs torch, and
triton on a GPU, and nothing else.
"""
