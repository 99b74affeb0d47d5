"""A face set at an address, such as a bucket's: each machine works on a copy that it makes once."""

import shutil

from visage.config.data import Data
from visage.errors import UserError
from visage.faces.faceset import FaceSet, staged
from visage.faces.shards import FOLDER
from visage.infra.files import locked
from visage.infra.remote_store import Store

NOT_COPIED = ("faces", FOLDER)  # PNGs for people to look at; and shards, which are read as they are needed
MARK = "set.json"  # sent last, so that an address which has it has the whole set


def opened(data: Data) -> FaceSet:
    """The face set of a data section that was prepared already: the folder's, or a copy of what is at the address.

    Raises UserError as `FaceSet.open`, and when the address holds no set or refuses.
    """
    if data.address and not replace_with_copy(data):
        raise UserError(f"{data.address}: holds no face set; make it with `visage prepare --out {data.address}`.")
    return FaceSet.open(data.dir, data.address)


def replace_with_copy(data: Data) -> bool:
    """Make the folder a copy of what is at the address, where it is not one already; false when nothing is there."""
    assert data.address
    store, own = Store(data.address), data.dir / MARK
    mark = store.read(MARK)
    if mark is None:
        return False
    data.dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(data.dir.parent / f".{data.dir.name}.lock"):  # one copies for all processes of a machine
        if not own.is_file() or own.read_bytes() != mark:
            shutil.rmtree(data.dir, ignore_errors=True)
            with staged(data.dir) as folder:
                store.get(folder, skip=NOT_COPIED)
                if store.read(MARK) != mark:
                    raise UserError(
                        f"{data.address}: another set took its place meanwhile; run the command again to use it."
                    )
    return True


def upload(faces: FaceSet) -> None:
    """Copy a face set to its address, where it is not there already."""
    if faces.address:
        store = Store(faces.address)
        there = store.read(MARK)
        if there != (faces.dir / MARK).read_bytes():
            if there is not None:
                store.delete(MARK)  # or a copy that is cut off would be half of each, under the mark of the other
            store.push(faces.dir, last=(MARK,))
