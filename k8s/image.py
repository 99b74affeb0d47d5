"""Builds the image, by docker or podman: `make image`. It says what came out, and writes what it is made of beside it.

Its bases come from a registry of images. Where none is reached, `--base debian` makes one for both with mmdebstrap,
from the sources, the certificates and the settings of apt that this machine has. What pip is told here (/etc/pip.conf,
or the file PIP_CONFIG_FILE) holds for the build and stays in no layer.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from visage.errors import UserError

ROOT = Path(__file__).parents[1]
TARGETS = ("cpu", "gpu")
LISTS = Path("runs/image")
RELEASE = "bookworm"  # of Debian, whose Python is 3.11
DEBIAN = f"localhost/visage-base:{RELEASE}"
PACKAGES = ("bash", "ca-certificates", "python-is-python3", "python3-venv", "wget")


def podman() -> list[str]:
    """The words that begin a command of podman. Where control groups are of version 1, its own choices fail."""
    if not shutil.which("podman"):
        raise UserError("docker, podman: neither can be used here; Debian's packages podman and runc bring one.")
    old = not Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return ["podman", *(["--cgroup-manager=cgroupfs", "--runtime=runc"] if old else [])]


def engine() -> list[str]:
    """Those of docker where its daemon answers, which is what kind and minikube take images from, or of podman."""
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True).returncode:
        return ["docker"]
    return podman()


def limits() -> list[str]:
    """Flags for podman's `run` and `build`: open files and processes as this process may have, and not podman's own
    numbers, which a root without all its rights may not give."""
    files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    most = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1  # podman gives itself no more
    processes = most if processes == resource.RLIM_INFINITY else min(most, processes)
    return [f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"]


def run(*command: object, shown: bool = False) -> str:
    """What the command prints, unless it is shown; its errors are. Raises UserError when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=None if shown else subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(words[:4])}: failed with {done.returncode}; what it said above tells why.")
    return done.stdout or ""


def debian(tool: list[str], *more: str, name: str = DEBIAN) -> str:
    """An image of Debian with these packages besides, made by mmdebstrap unless it is there; its name."""
    if not subprocess.run([*tool, "image", "inspect", name], capture_output=True).returncode:
        return name
    if not shutil.which("mmdebstrap"):
        raise UserError("mmdebstrap: is not installed; Debian's package of this name makes a base without a registry.")
    apt, certificates = Path("/etc/apt"), "/usr/local/share/ca-certificates"
    sources = [*apt.glob("sources.list"), *sorted(apt.glob("sources.list.d/*.list"))]
    sources += sorted(apt.glob("sources.list.d/*.sources"))
    hooks = ["copy-in /etc/apt/apt.conf.d /etc/apt"]
    if any(Path(certificates).glob("*.crt")):
        hooks += [f"copy-in {certificates} {Path(certificates).parent}", 'chroot "$1" update-ca-certificates']
    include = f"--include={','.join((*PACKAGES, *more))}"
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        asked = [include, *(f"--customize-hook={hook}" for hook in hooks)]
        run("mmdebstrap", "--quiet", "--variant=apt", *asked, RELEASE, tar, *sources)
        run(*tool, "import", tar, name)
    return name


def build(tool: list[str], target: str, name: str, base: str | None = None) -> None:
    """The image of this target, under this name. base: another image in the place of Python's and of CUDA's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    words = ["--file", ROOT / "k8s" / "Dockerfile", "--target", target, "--tag", name]
    words += [f"--build-arg=VERSION={project['version']}", f"--build-arg=REVISION={head.stdout.strip() or 'unknown'}"]
    if base:
        place = debian(tool) if base == "debian" else base
        words += [f"--build-arg={argument}={place}" for argument in ("PYTHON", "CUDA")]
    pip = Path(os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf"))
    if pip.is_file():
        words += ["--secret", f"id=pip,src={pip}"]
    if tool[0] == "podman":  # on this machine's network, so that nothing is changed in it
        words += ["--network=host", "--layers", *limits()]
    run(*tool, "build", *words, ROOT, shown=True)


def describe(tool: list[str], name: str, base: str | None = None) -> None:
    """Print its size, its layers and what its bases are; write the list of what it is made of into LISTS."""
    inside = LISTS / f"{name.replace(':', '-')}.cdx.json"
    LISTS.mkdir(parents=True, exist_ok=True)
    alone = ["--network=none", *(limits() if tool[0] == "podman" else [])]
    inside.write_text(run(*tool, "run", "--rm", *alone, name, "cat", "/app/sbom.json"))
    size = int(run(*tool, "image", "inspect", "--format={{.Size}}", name))
    print(f"{name}: {size / 1e9:.2f} GB, {run(*tool, 'image', 'inspect', '--format={{.Id}}', name).strip()}")
    print(run(*tool, "history", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", name))
    given = re.findall(r"^ARG (?:PYTHON|CUDA)=(\S+)$", (ROOT / "k8s" / "Dockerfile").read_text(), re.MULTILINE)
    for each in [DEBIAN if base == "debian" else base] if base else given:
        kept = "{{.Digest}}" if tool[0] == "podman" else "{{index .RepoDigests 0}}"
        done = subprocess.run([*tool, "image", "inspect", f"--format={kept}", each], capture_output=True, text=True)
        print(f"Base {each}: {done.stdout.strip() or 'its digest is not kept here'}")
    print(f"What it is made of: {inside}")


def main() -> None:
    words = argparse.ArgumentParser(description="The image of Visage's pods, by docker or podman.")
    words.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them by themselves")
    words.add_argument("--base", help="`debian`, or an image, for both bases")
    given: Any = words.parse_args()
    try:
        if unknown := set(given.targets) - {*TARGETS}:
            raise UserError(f"{min(unknown)}: is no target of the Dockerfile; give one of {', '.join(TARGETS)}.")
        tool = engine()
        for target in given.targets or TARGETS:
            name = f"visage:{target}"
            build(tool, target, name, given.base)
            describe(tool, name, given.base)
    except UserError as error:
        print("image:", error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
