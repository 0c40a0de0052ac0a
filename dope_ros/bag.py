"""`python -m dope_ros.bag`; see `dope_ros.tools.bag`."""

import sys
from contextlib import suppress

from dope_ros.tools.bag import main

if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
