"""`python -m sparsec.diagnostics > docs/errors.md`"""

from sparsec.diagnostics.explain import errors_page

print(errors_page(), end="")
