"""`python -m vostool` is the command line too."""

from vostool.cli import main

main()
