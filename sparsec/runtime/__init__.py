"""Generated text -> an operator in this process: the cache, the import, the object that users call.

torch and triton are imported here and nowhere else, and only by what runs the operator; the cache itself needs the
standard library alone, so that a warm start costs no parser, no set library and no templates.
"""
