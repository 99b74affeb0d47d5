"""Which people are for training, validation and test: dealt by their names' hashes, or by a published protocol."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.layouts import Row

PARTS = ("train", "validation", "test")
LEARN = ("train", "validation")
PEOPLE = 2  # in each part: one face is told from another's
# Of people who show action units and no expression: those that a transfer learns from, and those that its judge does.
PRACTICE, READING = "practice", "reading"
ALL_PARTS = (*PARTS, PRACTICE, READING)


def split_people(
    identities: Iterable[str],
    shares: Shares,
    published: Mapping[str, str] | None = None,
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The part of each person. Each part has its share of the people, rounded to whole ones, whatever their names and
    order; but no part has fewer than two people, as judging needs, where there are two for each.

    `published`: the people whom the data set's own protocol puts into train or test. Of its training people some are
    dealt to validation, in the proportion of the two shares. `kept`: people who have a part already and stay there;
    the others are dealt to what is furthest behind its share. Raises UserError when a part would have nobody, or a
    kept person stands where the protocol does not have them.
    """
    published, kept = published or {}, kept or {}
    people = sorted(set(identities))
    for person in people:
        if person in kept and (kept[person] == "test") != (published.get(person, kept[person]) == "test"):
            raise UserError(
                f"{person} is in the {kept[person]} part of the set whose split is kept (data.split_as), and the "
                f"published protocol says {published[person]}; keep the split of a set of the same protocol, or none."
            )
    parts = {person: "test" for person in people if published.get(person) == "test"}
    parts |= _dealt([person for person in people if published.get(person) == "train"], shares, LEARN, kept)
    parts |= _dealt([person for person in people if person not in published], shares, PARTS, kept)
    for part in PARTS:
        if part not in parts.values():
            if published and (part == "test" or "train" not in published.values()):
                raise UserError(
                    f"the {len(parts)} people leave the {part} part empty, as the data set's published protocol puts "
                    "none of them there; add the people whom it does, or split by the hash of the names "
                    "(data.oulu_casia.protocol=hash)."
                )
            mend = (
                f"or give {part} a larger share, as with --set data.shares='{{train: 0.5, validation: 0.2, test: 0.3}}'"
            )
            if len(parts) < PEOPLE * len(PARTS):
                mend = f"to {PEOPLE * len(PARTS)} at the least, as each part needs {PEOPLE} to be judged"
            raise UserError(
                f"the {len(parts)} people leave the {part} part empty at its share of {getattr(shares, part):g}; "
                f"add people, {mend}."
            )
    return {person: parts[person] for person in people}


def split_rows(rows: Sequence[Row], shares: Shares, kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """As `split_people`, with the published split that the rows name. People who show action units and no expression
    stay in the part that their rows name."""
    beside = {row.identity: row.published for row in rows if row.published in (PRACTICE, READING)}
    named = [row for row in rows if row.identity not in beside]
    published = {row.identity: row.published for row in named if row.published}
    kept = {person: part for person, part in (kept or {}).items() if part in PARTS}
    return split_people((row.identity for row in named), shares, published, kept) | beside


def halves(people: Iterable[str]) -> dict[str, int]:
    """The half, 0 or 1, of each person: every other one in the order of their hashes."""
    return {person: place % 2 for place, person in enumerate(sorted(set(people), key=_hash))}


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _dealt(people: Sequence[str], shares: Shares, among: Sequence[str], kept: Mapping[str, str]) -> dict[str, str]:
    """The part, of `among`, of each of the people: the kept ones' own, and the others' in the order of their hashes."""
    parts = {person: kept[person] for person in people if person in kept}
    held = Counter(parts.values())
    whole = sum(getattr(shares, part) for part in among)
    least = min(PEOPLE, len(people) // len(among))
    due = {part: max(least, len(people) * getattr(shares, part) / whole) for part in among}
    for part in sorted(due, key=lambda part: -due[part]):  # what small parts get beyond their share, large ones lack
        due[part] = max(least, due[part] - (sum(due.values()) - len(people)))

    def claim(part: str) -> tuple[int, bool, float]:
        behind = round(due[part] - held[part], 9)  # 0.7 of 10 people is 7, and not a hair less
        return math.floor(behind), not held[part], behind  # whole people, then whether it has nobody, then the rest

    for person in sorted(set(people) - kept.keys(), key=_hash):
        # Of equal claims the smallest part's: one person more is more there.
        parts[person] = max(sorted(among, key=lambda part: due[part]), key=claim)
        held[parts[person]] += 1
    return parts
