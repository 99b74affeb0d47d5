"""`visage prepare` as a job: the same arguments, run on the cluster that the job was submitted to."""

from jobs.script import run

if __name__ == "__main__":
    run("prepare")
