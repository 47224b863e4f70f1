"""What an operator chooses by the content of its queries and keys: blocks, labels of groups, single keys.

Each kind is a module and its kernels: `choose` (blocks), `grouping` (hashes and clusters), `indexer` (keys by heads of
their own).  `choosers` runs all of an operator.
"""
