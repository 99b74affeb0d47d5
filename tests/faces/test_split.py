"""Who is for training, validation and test."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.faces.photos import people_folder
from tests.faces.sets import SHARES, data, prepare
from visage.config import Experiment
from visage.config.data import Shares
from visage.config.read import read_config
from visage.errors import UserError
from visage.faces.prepare import prepare_if_absent
from visage.faces.split import PARTS, split_people

CONFIGS = Path(__file__).parents[2] / "configs"
KDEF = [f"{sex}{number:02d}" for sex in "FM" for number in range(1, 36)]
RAFD = [f"{number:02d}" for number in range(1, 68)]
OULU = [f"P{number:03d}" for number in range(1, 81)]
names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable())
people = st.sets(names, min_size=20, max_size=80)


@st.composite
def any_shares(draw: st.DrawFn) -> Shares:
    train, validation = draw(st.floats(0.1, 0.7)), draw(st.floats(0.05, 0.2))
    return Shares(train=train, validation=validation, test=1 - train - validation)


def counts(people: list[str], shares: Shares) -> tuple[int, ...]:
    dealt = Counter(split_people(people, shares).values())
    return tuple(dealt[part] for part in PARTS)


@pytest.mark.slow
@given(people, any_shares())
def test_the_shares_hold_to_a_person_and_everybody_has_a_part(people: set[str], shares: Shares) -> None:
    parts = split_people(people, shares)
    assert set(parts) == people
    dealt = Counter(parts.values())
    assert set(dealt) == set(PARTS)
    due = {part: len(people) * getattr(shares, part) for part in PARTS}
    lent = sum(max(0, 2 - due[part]) for part in PARTS)  # to parts whose share is not two people
    for part in PARTS:
        assert abs(dealt[part] - due[part]) <= 1 + lent


@pytest.mark.slow
@given(st.sets(names, min_size=6, max_size=12), st.floats(0.02, 0.9), st.floats(0.02, 0.9))
def test_any_shares_of_few_people_leave_two_in_every_part(people: set[str], train: float, validation: float) -> None:
    assume(train + validation < 0.98)
    shares = Shares(train=train, validation=validation, test=1 - train - validation)
    dealt = Counter(split_people(people, shares).values())
    assert all(dealt[part] >= 2 for part in PARTS)


@given(st.sets(names, min_size=6, max_size=20))
def test_few_people_leave_every_part_enough_to_judge(people: set[str]) -> None:
    dealt = Counter(split_people(people, Shares()).values())
    assert all(dealt[part] >= 2 for part in PARTS)
    assert dealt["train"] >= min(0.7 * len(people), len(people) - 4) - 1


@pytest.mark.slow
@given(st.lists(names, min_size=20, max_size=80, unique=True), any_shares(), st.randoms())
def test_the_order_of_the_names_is_of_no_account(people: list[str], shares: Shares, random: object) -> None:
    before = split_people(people, shares)
    random.shuffle(people)  # type: ignore[attr-defined]
    assert split_people(people * 2, shares) == before


@pytest.mark.slow
@given(people, st.sets(names, max_size=80), any_shares(), any_shares())
def test_adding_people_moves_nobody_and_fills_what_is_behind(
    people: set[str], more: set[str], then: Shares, now: Shares
) -> None:
    before = split_people(people, then)
    after = split_people(people | more, now, kept=before)
    assert {person: after[person] for person in people} == before
    behind = {part: len(after) * getattr(now, part) - list(after.values()).count(part) for part in PARTS}
    for part in {after[person] for person in more - people}:
        assert behind[part] > -1
        assert max(behind.values()) - behind[part] < 2


@pytest.mark.parametrize(
    ("named", "default", "config", "configured"),
    [
        (KDEF, (49, 7, 14), "kdef.yaml", (42, 7, 21)),
        (RAFD, (47, 7, 13), "rafd.yaml", (33, 7, 27)),
        (OULU, (56, 8, 16), "oulu_casia.yaml", (56, 8, 16)),
    ],
)
def test_the_data_sets_of_the_papers_have_the_people_that_their_shares_say(
    named: list[str], default: tuple[int, ...], config: str, configured: tuple[int, ...]
) -> None:
    assert counts(named, Shares()) == default
    assert counts(named, read_config(Experiment, CONFIGS / config).data.shares) == configured


def test_of_a_published_split_only_the_training_people_are_dealt() -> None:
    published = {person: "test" if person > "P072" else "train" for person in OULU}
    parts = split_people(OULU, Shares(), published)
    assert [person for person in OULU if parts[person] == "test"] == OULU[72:]
    assert Counter(parts.values()) == {"train": 63, "validation": 9, "test": 8}  # an eighth of 72
    few = OULU[:60] + OULU[72:]
    more = split_people(OULU, Shares(), published, split_people(few, Shares(), published))
    assert {person: more[person] for person in few} == split_people(few, Shares(), published)
    assert Counter(more.values()) == Counter(parts.values())


@pytest.mark.slow
@given(st.sets(names, min_size=20), st.sets(names, min_size=1, max_size=5), any_shares())
def test_a_training_person_of_the_protocol_is_never_tested(
    learners: set[str], testers: set[str], shares: Shares
) -> None:
    published = dict.fromkeys(learners, "train") | dict.fromkeys(testers, "test")
    assume(list(published.values()).count("train") > 19)
    parts = split_people(published, shares, published)
    assert {person for person, part in parts.items() if part == "test"} == testers


def test_a_kept_split_that_a_protocol_contradicts_is_refused() -> None:
    kept = split_people(OULU, Shares())
    published = {person: "test" if person > "P072" else "train" for person in OULU}
    with pytest.raises(UserError, match=r"P0\d\d is in the test part .*data\.split_as.* protocol says train"):
        split_people(OULU, Shares(), published, kept)


def test_a_published_split_without_its_test_people_says_so() -> None:
    people = OULU[:40]
    for part, mend in (("train", "test"), ("test", "train")):
        with pytest.raises(UserError, match=rf"the {mend} part empty, as .* published protocol .*protocol=hash"):
            split_people(people, Shares(), dict.fromkeys(people, part))


@pytest.mark.slow
def test_more_photographs_are_prepared_without_moving_anybody(tmp_path: Path) -> None:
    source = people_folder(tmp_path / "photographs", 12)
    first = prepare("folder", source, tmp_path / "first", 32, SHARES)
    parts = json.loads((tmp_path / "first" / "set.json").read_text())["parts"]
    people_folder(source, 20)
    with pytest.raises(UserError, match=rf"other pictures .*--set data\.split_as={first.dir} where nobody"):
        prepare("folder", source, tmp_path / "first", 32, SHARES)
    grown = prepare("folder", source, tmp_path / "grown", 32, SHARES, split_as=str(first.dir))
    assert grown.parts() == grown.facts["parts"]
    assert len(grown.parts()) == 20
    assert grown.parts() | parts == grown.parts()
    assert Counter(grown.parts().values()) == {"train": 10, "validation": 4, "test": 6}
    # Who is away for a while comes back to the part that was theirs.
    for path in source.glob("p0[0-4]_*"):
        path.unlink()
    fewer = prepare("folder", source, tmp_path / "fewer", 32, SHARES, split_as=str(grown.dir))
    assert len(set(fewer.identity)) == 15
    people_folder(source, 20)
    again = prepare("folder", source, tmp_path / "again", 32, SHARES, split_as=str(fewer.dir))
    assert again.parts() == grown.parts()


@pytest.mark.slow
def test_more_procedural_people_move_nobody_and_change_no_face(tmp_path: Path) -> None:
    few = prepare("synthetic", None, tmp_path / "few", 32, SHARES, people=10, pictures=1)
    more = prepare("synthetic", None, tmp_path / "more", 32, SHARES, people=14, pictures=1, split_as=str(few.dir))
    assert more.identity[: len(few.identity)].tolist() == few.identity.tolist()
    assert more.split[: len(few.identity)].tolist() == few.split.tolist()
    assert (more.faces[: len(few.identity)] == few.faces).all()


@pytest.mark.slow
def test_a_set_of_an_earlier_version_keeps_its_split(tmp_path: Path) -> None:
    dealt = prepare_if_absent(data(tmp_path / "dealt", layout="synthetic"))
    shutil.copytree(dealt.dir, tmp_path / "old")
    person = str(dealt.identity[dealt.part("train")][0])
    moved(tmp_path / "old", person, "test")
    old = prepare_if_absent(data(tmp_path / "old", layout="synthetic"))
    assert old.parts() == dealt.parts() | {person: "test"}
    more = prepare_if_absent(data(tmp_path / "more", layout="synthetic", people=14, split_as=str(old.dir)))
    assert more.parts() | old.parts() == more.parts()
    for layout in ("synthetic", None):  # made here, or found
        with pytest.raises(UserError, match=rf"{person} is in the test part and not in train as in .*data\.split_as"):
            prepare_if_absent(data(old.dir, layout=layout, split_as=str(dealt.dir)))


def moved(folder: Path, person: str, part: str) -> None:
    """Make a set as an earlier version would have: with somebody elsewhere, and nothing but faces.csv to say so."""
    lines = (folder / "faces.csv").read_text().splitlines()
    lines = [line.replace(",train", f",{part}") if f",{person}," in line else line for line in lines]
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    facts = json.loads((folder / "set.json").read_text())
    del facts["parts"]
    facts["labels_sha256"] = hashlib.sha256((folder / "faces.csv").read_bytes()).hexdigest()
    (folder / "set.json").write_text(json.dumps(facts))
