"""``python -m lab`` is ``python run.py``."""

import sys

from lab.launch.parent import main

if __name__ == "__main__":
    sys.exit(main())
