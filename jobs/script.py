"""How each script of this folder runs its command."""

import os
import sys
from pathlib import Path

from visage.cli import main
from visage.config.data import HOME
from visage.errors import UserError


def run(command: str, *options: str) -> None:
    """`visage COMMAND OPTIONS` with this process's arguments, in the folder that all nodes of the cluster see.

    The cluster names that folder in VISAGE_HOME; what a command keeps under runs/ lies there, while the folder that a
    job starts in goes with the job. Files that came with the job are given their whole paths.
    """
    arguments = sys.argv[1:]
    home = os.environ.get(HOME)
    if home:
        arguments = [str(Path(each).absolute()) if Path(each).is_file() else each for each in arguments]
        try:
            os.chdir(home)
        except OSError as error:
            fault = UserError(f"{HOME} = {home}: {error.strerror}; mount the storage that all nodes share there.")
            print(f"visage: {fault}", file=sys.stderr)
            raise SystemExit(2) from None
    sys.argv[1:] = [command, *options, *arguments]
    main()
