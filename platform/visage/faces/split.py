"""Which people are for training, validation and test: by the hash of a name, or by a data set's own protocol."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.layouts import Row

PARTS = ("train", "validation", "test")


def split_of(identity: str, shares: Shares, *, learn_only: bool = False) -> str:
    """The part of a person: by the hash of the name alone, so that other people move nobody.

    `learn_only`: train or validation, in the proportion of their shares.
    """
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    if learn_only:
        place *= shares.train + shares.validation
    if place < shares.train:
        return "train"
    return "validation" if place < shares.train + shares.validation else "test"


def split_people(
    identities: Iterable[str], shares: Shares, published: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The part of each person; UserError when a part would have nobody.

    `published`: the people whom the data set's own protocol puts into train or test. Of its training people the hash
    takes the validation people out.
    """
    parts = {}
    for identity in sorted(set(identities)):
        given = (published or {}).get(identity)
        parts[identity] = "test" if given == "test" else split_of(identity, shares, learn_only=given == "train")
    for part in PARTS:
        if part not in parts.values():
            if published and (part == "test" or "train" not in published.values()):
                raise UserError(
                    f"the {len(parts)} people leave the {part} part empty, as the data set's published protocol puts "
                    "none of them there; add the people whom it does, or split by the hash of the names "
                    "(data.oulu_casia.protocol=hash)."
                )
            raise UserError(
                f"the {len(parts)} people leave the {part} part empty at its share of {getattr(shares, part):g}; "
                f"add people, or give {part} a larger share, "
                "as with --set data.shares='{train: 0.5, validation: 0.2, test: 0.3}'."
            )
    return parts


def split_rows(rows: Sequence[Row], shares: Shares) -> dict[str, str]:
    """As `split_people`, by the rows' own word on the published split."""
    return split_people((r.identity for r in rows), shares, {r.identity: r.published for r in rows if r.published})
