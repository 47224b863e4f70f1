"""What generated modules are made of: device functions, launches, the CPU path, tables, the registered operator.

`sparsec compile` writes all of it beside a generated module, as one file (sparsec.codegen.support).  It needs torch,
and triton on a GPU, and nothing else.
"""
