"""API keys: known by their hashes alone, from a file that may change while the endpoint runs, or the environment.

A key is 256 random bits, so one round of SHA-256 is enough: nobody tries them all, as with passwords.
"""

import hashlib
import os
import re
import secrets
import time
from pathlib import Path

from visage.errors import UserError

VARIABLE = "VISAGE_KEYS"
NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
LOOK_SECONDS = 2.0


class Keys:
    """The known keys. A file is read again when it has changed, so that a key is added or withdrawn without a restart;
    one that can no longer be read changes nothing.

    Raises UserError when there are none and for a line that is not NAME SHA256.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known = self._read()
        if not self._known:
            raise UserError(
                f"{path or VARIABLE}: holds no API key, and access.required is true; make one with `visage key NAME`, "
                "or set access.required=false to answer everybody on this machine alone."
            )
        self._looked, self._seen = time.monotonic(), self._stamp()

    def name_of(self, authorization: str) -> str | None:
        """Whose key an Authorization header brings; None for a wrong one and for anything but `Bearer KEY`."""
        self._look()
        scheme, _, key = authorization.partition(" ")
        # How long the search takes tells of the digest at most, and nobody can choose a key by its digest.
        found = self._known.get(hashlib.sha256(key.strip().encode()).digest())
        return found if scheme.lower() == "bearer" else None

    def _look(self) -> None:
        now = time.monotonic()
        if self._path is None or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._known = self._read()
        except UserError as error:
            from serve_app.logs import logger

            logger().error("The keys stay as they were: %s", error)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

    def _read(self) -> dict[bytes, str]:
        if self._path is None:
            text, origin = os.environ.get(VARIABLE, ""), VARIABLE
        else:
            origin = str(self._path)
            try:
                text = self._path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "no text"
                raise UserError(
                    f"access.keys = {origin}: cannot be read ({reason}); `visage key NAME --keys {origin}` makes it."
                ) from None
        return parse_keys(text, origin)


def parse_keys(text: str, origin: str) -> dict[bytes, str]:
    """Names by digests, of the lines NAME SHA256 (in a variable also with commas between them); # begins a comment."""
    known = {}
    for line in re.split(r"[\n,]", text):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, digest = words if len(words) == 2 else ("", "")
        if not NAME.fullmatch(name) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            # Not the line itself: somebody may have put the key there.
            number = text[: text.index(line)].count("\n") + 1
            raise UserError(f"{origin}: line {number} is not NAME SHA256; `visage key NAME` makes such lines.")
        known[bytes.fromhex(digest)] = name
    return known


def make_key(name: str, path: Path | None) -> tuple[str, str]:
    """A new key, and its line for the file at `path`, to which it is added if one is given. Raises UserError."""
    if not NAME.fullmatch(name):
        raise UserError(f"key {name!r}: its name takes 1 to 40 letters, digits, '.', '_' and '-'; choose another.")
    key = f"visage_{secrets.token_urlsafe(32)}"
    line = f"{name} {hashlib.sha256(key.encode()).hexdigest()}"
    if path:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Readable by nobody else from the beginning.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "rb+") as file:
                whole = file.read()
                file.write((b"" if whole[-1:] in (b"", b"\n") else b"\n") + line.encode() + b"\n")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file.") from None
    return key, line


def print_key(name: str, path: Path | None) -> None:
    """Make a key and show it, which is the only time that anybody can read it. Raises UserError."""
    key, line = make_key(name, path)
    print(f"key:  {key}")
    print(f"{path}: has its hash; hand the key over now, as it is kept nowhere." if path else f"line: {line}")
    taken = f" --set access.keys={path}" if path else ""
    before = "" if path else f"{VARIABLE}='{line}' "
    print(f"next: {before}visage serve --set access.required=true{taken}")
