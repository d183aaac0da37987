"""``python -m ncalab``: the command line, where the script ``ncalab`` is not on the path."""

from ncalab.cli import main

if __name__ == "__main__":
    main()
