"""`python -m visage.cli`, as the command `visage`."""

from visage.cli import main

if __name__ == "__main__":
    main()
