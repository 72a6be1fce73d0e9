"""`python -m featmill` is the command line."""

from featmill.cli.main import main

main()
