"""`python -m soar`: what launchers of several processes start."""

import sys

if not sys.flags.safe_path and not __file__.startswith(f"{sys.path[0]}/soar/"):
    del sys.path[
        0
    ]  # `-m` puts the current folder first, whose modules would replace installed ones

from soar.cli import main

main()
