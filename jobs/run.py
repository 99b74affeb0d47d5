"""`visage COMMAND` as a job: the same arguments, run on the cluster that the job was submitted to.

python -m jobs.run tune configs/kdef.yaml
"""

import os
import sys
import tempfile
from pathlib import Path

from visage.cli import main
from visage.config.data import HOME

GO_ON = {"train", "tune"}  # submitted again, these go on where they stopped; the others do so by themselves


def run(arguments: list[str]) -> None:
    """`visage ARGUMENTS` in the folder that all nodes of the cluster see.

    The cluster names that folder in VISAGE_HOME; what a command keeps under runs/ lies there, while the folder that a
    job starts in goes with the job. Files that came with the job are given their whole paths.
    """
    command, rest = arguments[:1], arguments[1:]
    home = os.environ.get(HOME)
    if home:
        rest = [str(Path(each).absolute()) if Path(each).is_file() else each for each in rest]
        try:
            os.chdir(home)
            tempfile.TemporaryFile(dir=home).close()  # a volume may be there and root's alone
        except OSError as error:
            mend = f"mount the storage that all nodes share there, for user {os.getuid()} to write to"
            print(f"visage: {HOME} = {home}: {error.strerror}; {mend}.", file=sys.stderr)
            raise SystemExit(2) from None
    sys.argv[1:] = [*command, *(["--restartable"] if set(command) & GO_ON else []), *rest]
    main()


if __name__ == "__main__":
    run(sys.argv[1:])
