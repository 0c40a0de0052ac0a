"""`python -m dope_ros.demo`; see `dope_ros.tools.demo`."""

import sys

from dope_ros.tools.demo import main

if __name__ == "__main__":
    sys.exit(main())
