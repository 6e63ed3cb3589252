"""`python -m vergence`: the command line."""

import sys

from vergence.cli import main

if __name__ == "__main__":
    sys.exit(main())
