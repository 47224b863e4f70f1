"""What editors and pages need to know about a text: colours, and the features of the language server.

One file a feature, each a pure function of texts and places; `server.py` alone speaks the protocol.
"""
