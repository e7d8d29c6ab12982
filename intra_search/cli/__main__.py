"""`python -m intra_search.cli`: the command line where its script is not on the path."""

from intra_search.cli.app import main

if __name__ == "__main__":
    main()
