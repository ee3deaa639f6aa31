"""`python -m soar`: what launchers of several processes start."""

from soar.cli import main

main()
