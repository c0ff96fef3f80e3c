"""The private and undocumented parts of other libraries that lab uses.

One file for each library; each use has a reason, and a test of its name in ``tests/unit/compat``. All other modules
use public APIs only (``tests/unit/compat/test_nowhere_else.py``). A file is imported only by modules that import its
library too, so that commands without torch do not load it.
"""
