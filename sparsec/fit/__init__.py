"""`sparsec fit`: from queries and keys of a model, the pattern of each head that keeps most of its dense weight."""
