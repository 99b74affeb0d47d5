"""The training people of a face set in shards, drawn from a window of a few shards that moves on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.shard_files import ShardFiles
from visage.faces.shards import Pictures, read

AT_ONCE = 4  # shards that are read side by side where a window begins
DEAL = 2**62  # the number of the draw that gives each worker its shards; the others are those of passes


class Order:
    """Which of `count` shards stands where in the endless row of passes, each in an order of its own.

    width: so many shards in a row differ, also from one pass to the next.
    """

    def __init__(self, count: int, width: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.width = min(width, count // 2 + 1)
        self.passes: list[list[int]] = []

    def at(self, position: int) -> int:
        """The shard at a position, from 0 on."""
        number, place = divmod(position, self.count)
        while len(self.passes) <= number:
            self.passes.append(self._following(self.passes[-1] if self.passes else []))
        return self.passes[number][place]

    def _following(self, before: list[int]) -> list[int]:
        random = np.random.Generator(np.random.Philox(key=[self.seed, len(self.passes)]))
        drawn = random.permutation(self.count).tolist()
        seen = set(before[-(self.width - 1) :]) if self.width > 1 else set()
        first = [shard for shard in drawn if shard not in seen][: self.width - 1]
        return first + [shard for shard in drawn if shard not in first]


class Stream:
    """What one of `workers` draws from: a window of shards, in memory, that moves on by one shard a turn.

    A turn is as many tuples as a shard has pictures, so that a pass over the shards is as many as there are pictures.
    The window at a tuple depends on the seed, the window's width, the share and the tuple's number alone. While one is
    drawn from, the shard that comes next is read. faces: a set in shards; width: shards in the window. A worker has a
    share of the shards and reads no other. Raises UserError when there are more workers than shards.
    """

    def __init__(
        self, faces: FaceSet, files: ShardFiles, *, width: int, seed: int, rank: int = 0, workers: int = 1
    ) -> None:
        shards = faces.shards
        if workers > len(shards):
            raise UserError(
                f"train.workers = {workers}: each worker reads shards of its own, and {faces.dir} has {len(shards)}; "
                "use fewer, or make the set anew with smaller ones (data.shards.mb)."
            )
        dealt = np.random.Generator(np.random.Philox(key=[seed, DEAL])).permutation(len(shards))
        self.own = [shards[k] for k in dealt[rank::workers].tolist()]
        self.faces, self.files, self.workers = faces, files, workers
        self.order = Order(len(self.own), width, seed)
        self.turn_length = sum(shard.pictures for shard in self.own) // len(self.own)
        self.room = max(shard.pictures for shard in self.own)
        # One place more than the window has, for the shard that is read while it is drawn from.
        self.places: list[Pictures | None] = [None] * (self.order.width + 1)
        self.pixels = np.zeros((len(self.places) * self.room, faces.size, faces.size, 3), np.uint8)

    def turn(self, first: int) -> int:
        """The turn in which the tuple with this number, of all workers together, is drawn."""
        return first // self.workers // self.turn_length

    def fill(self, turn: int) -> FaceSet:
        """The window of a turn, all its shards read anew."""
        positions = range(turn, turn + self.order.width)
        shards = [self.order.at(position) for position in positions]
        with ThreadPoolExecutor(AT_ONCE, "shards") as readers:
            list(readers.map(self._load, positions, shards))
        return self._window(turn)

    def follow(self, turn: int) -> FaceSet:
        """The window of a turn, where that of the turn before is here: one shard is read. Pixels of that window stay as
        they are, so it may be drawn from meanwhile."""
        position = turn + self.order.width - 1
        self._load(position, self.order.at(position))
        return self._window(turn)

    def _place(self, position: int) -> int:
        return position % len(self.places)

    def _load(self, position: int, number: int) -> None:
        shard, place = self.own[number], self._place(position)
        into = self.pixels[place * self.room : (place + 1) * self.room]
        self.places[place] = read(self.files.read(shard), into)

    def _window(self, turn: int) -> FaceSet:
        live = {self._place(position) for position in range(turn, turn + self.order.width)}
        held = [pictures if place in live else None for place, pictures in enumerate(self.places)]
        number = {name: place for place, name in enumerate(self.faces.expressions)} | {"": -1}

        def column(values: Callable[[Pictures], np.ndarray], absent: np.ndarray) -> np.ndarray:
            """Over all places; `absent`, of one picture, where there is none."""
            parts = []
            for pictures in held:
                found = values(pictures) if pictures else absent[:0]
                parts += [found, np.repeat(absent, self.room - len(found), axis=0)]
            return np.concatenate(parts)

        identity, units = column(lambda one: one.identity, np.array([""])), self.faces.aus
        return replace(
            self.faces,
            faces=self.pixels,
            identity=identity,
            expression=column(
                lambda one: np.array([number[word] for word in one.expression.tolist()]), np.array([number[""]])
            ),
            split=np.where(identity == "", "", "train"),
            intensity=column(lambda one: one.intensity, np.ones(1, np.float32)),
            group=np.full(len(identity), ""),
            path=np.full(len(identity), ""),
            aus=None if units is None else column(_units, np.full((1, units.shape[1]), np.nan, np.float32)),
            turn=None,
            lopsided=column(lambda one: one.lopsided, np.zeros(1, np.float32)),
        )


def _units(pictures: Pictures) -> np.ndarray:
    assert pictures.aus is not None
    return pictures.aus
