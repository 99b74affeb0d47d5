"""`visage ablate` as a job: the same arguments, run on the cluster that the job was submitted to."""

import sys

from visage.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["ablate"]
    main()
