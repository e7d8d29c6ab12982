"""`python -m intra_search.cli`: the command line where its script is not on the path."""

from intra_search.cli.app import main

main()
