"""`python -m dope_ros.bag`; see `dope_ros.tools.bag`."""

import sys
from contextlib import suppress

if __name__ == "__main__":
    with suppress(BrokenPipeError):
        try:
            from dope_ros.tools.bag import main

            sys.exit(main())
        except KeyboardInterrupt:  # while libraries are imported
            sys.exit(130)
