"""Plan -> the text of a Python module: printed conditions and bounds, templates, the support library as one file."""
