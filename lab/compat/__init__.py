"""What is relied on of other libraries that they do not promise: private names, undocumented behaviour.

One file a library, each use with its reason, and for each a test of its name in ``tests/unit/compat``. Elsewhere only
what a library promises is called (``tests/unit/compat/test_nowhere_else.py``). Each file is imported only where its
library is, so that commands that need no torch load none.
"""
