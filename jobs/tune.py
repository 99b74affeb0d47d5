"""`visage tune` as a job: the same arguments, run on the cluster; submitted again, it goes on where it stopped."""

from jobs.script import run

if __name__ == "__main__":
    run("tune", "--restartable")
