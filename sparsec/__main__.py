"""`python -m sparsec` is `sparsec`."""

from sparsec.cli import main

main()
