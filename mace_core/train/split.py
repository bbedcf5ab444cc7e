"""Which frames are held out of training: a split that does not leak and does not move."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mace_core.conventions import GENERATION, WALKER
from mace_core.frames import frame_id
from mace_core.storage import derived_seed
from mace_core.strata import stratum_of
from mace_core.train.duplicates import NearDuplicates

TRAIN, VALID, NONE = "train", "valid", "none"


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a frame once, and holds for ever.

    Attributes:
        side: ``train`` or ``valid``; a frame drawn to train may be left out for all that.
        torn: its stream was split inside one group of near-duplicates.
    """

    side: str
    torn: bool


@dataclass(frozen=True)
class Split:
    """The sides of frames, and what was drawn for each."""

    sides: list[str]
    drawn: list[Drawn]


def split_frames(
    frames: Sequence[Atoms],
    valid_fraction: float,
    seed: int,
    arrivals: Sequence[tuple[str, int]] | None = None,
    before: Sequence[Drawn | None] | None = None,
) -> Split:
    """The side of every frame: ``train``, ``valid``, or ``none`` (left out).

    Frames come in streams of blocks (the generations of the campaign; the user's files). Each
    block is split once, after the earlier blocks of its stream: frames that are near-duplicates
    of each other (:class:`~mace_core.train.duplicates.NearDuplicates`, linked through any chain
    within the block) form a group; a group near an earlier frame takes that frame's side; the
    other groups are drawn whole, in an order that depends on the seed and the id of the group's
    first frame, as long as a group brings the stream's held-out count nearer to its share. Frames
    of one walker of one generation are drawn together, unless less than half of the share would
    be held out then. Of a later block's free groups at most about half are held out, or the share
    where it is larger: a share that was raised is reached over several blocks.

    What was drawn for a frame before holds, whatever the seed, the fraction and the blocks are now;
    only the other frames are drawn.

    Guaranteed:

    - No held-out frame has a near-duplicate in training. A training frame that lies near a
      held-out one nevertheless (it links two groups of different blocks or streams) is left out.
      Two exceptions: a stream whose frames are all near-duplicates has to be split inside; and
      nothing is left out where that would leave nothing to train on.
    - With at least two frames, neither side is empty.
    - A stratum (:mod:`mace_core.strata`) with two frames or more in a stream has one that trains,
      unless all of them are near-duplicates of held-out frames, or nothing else is left to hold
      out.
    - A frame that is held out stays so, and a frame that trains stays in training or is left out,
      if what was drawn before is given; and without it, as blocks are appended to streams, with the
      same seed and fraction and unchanged earlier blocks (but for streams of a single frame each,
      of which one is held out for the moment). Where no frame is left that may be held out, one
      that trained is: without any there is no training.
    - With what was drawn before or without it, the same frames come out on the same sides, as long
      as seed, fraction and earlier blocks are the same (with the same exception).
    - The order of ``frames`` does not matter.

    Args:
        frames: labelled frames.
        valid_fraction: share to hold out.
        seed: of the draw.
        arrivals: (stream, number of its block) of each frame; one block when not given.
        before: what was drawn for each frame before; None for a new one.
    """
    ids = [frame_id(atoms) for atoms in frames]
    arrivals = arrivals or [("", 0)] * len(frames)
    near = NearDuplicates(frames)
    streams = defaultdict(lambda: defaultdict(list))
    for index in sorted(range(len(frames)), key=lambda i: ids[i]):
        stream, block = arrivals[index]
        streams[stream][block].append(index)

    split = _Split(frames, ids, near, valid_fraction, seed, before or [None] * len(frames))
    for _, blocks in sorted(streams.items()):
        split.stream([block for _, block in sorted(blocks.items())])
    sides = split.sides
    if len(frames) > 1 and VALID not in sides:  # streams of a single frame each
        first = min(range(len(frames)), key=lambda i: (split.before[i] is not None, split.rank(i)))
        sides[first] = VALID
        return split.result()
    left_out = split.near_held_out()
    if left_out >= {index for index, side in enumerate(sides) if side == TRAIN}:
        left_out = set()
    return split.result(left_out)


class _Split:
    """The sides drawn so far."""

    def __init__(self, frames, ids, near, valid_fraction, seed, before):
        self.frames, self.ids, self.near = frames, ids, near
        self.valid_fraction, self.seed, self.before = valid_fraction, seed, before
        self.sides = [NONE] * len(frames)
        self.strata = [stratum_of(atoms) for atoms in frames]
        #: Frames of streams that were split inside one group.
        self.torn = {index for index, drawn in enumerate(before) if drawn and drawn.torn}

    def result(self, left_out: Iterable[int] = ()) -> Split:
        drawn = [Drawn(side, index in self.torn) for index, side in enumerate(self.sides)]
        out = set(left_out)
        return Split([NONE if i in out else side for i, side in enumerate(self.sides)], drawn)

    def rank(self, index: int) -> tuple[int, str]:
        """Where a frame, or the group it comes first in, stands in the draw."""
        return derived_seed(self.seed, "split", self.ids[index]), self.ids[index]

    def stream(self, blocks: Iterable[list[int]]) -> None:
        """Assign the blocks of one stream in turn."""
        members, held_out, earlier = [], 0, {TRAIN: [], VALID: []}
        for block in blocks:
            new = []
            for index in block:
                if drawn := self.before[index]:
                    held_out += self._put([index], drawn.side)
                    earlier[drawn.side].append(index)
                else:
                    new.append(index)
            is_later = bool(members or len(new) < len(block))
            members += block
            if new:
                held_out += self._new(new, members, held_out, earlier, is_later)
            for index in new:
                earlier[self.sides[index]].append(index)

    def _new(
        self,
        new: list[int],
        members: list[int],
        held_out: int,
        earlier: dict[str, list[int]],
        is_later: bool,
    ) -> int:
        """Assign the new frames of one block; returns how many it holds out.

        Args:
            new: the frames.
            members: of the stream so far, with these.
            held_out: of the members.
            earlier: the members that have a side.
            is_later: whether there are any of these.
        """
        before, free = held_out, []
        for group, side in self._beside(new, earlier):
            if side:
                held_out += self._put(group, side)
            else:
                free.append(group)
        most = len(members) - 1
        share = max(1.0, self.valid_fraction * len(members)) if most else 0.0
        if is_later:
            n_free = sum(map(len, free))
            most = min(most, held_out + max(1, round(max(0.5, self.valid_fraction) * n_free)))
        held_out += self._draw(self._by_walker(free), share, held_out, most)
        if held_out < share / 2:
            rest = [group for group in free if self.sides[group[0]] == NONE]
            held_out += self._draw(rest, share, held_out, most)
        rest = [group for group in free if self.sides[group[0]] == NONE]
        if share and not held_out:
            held_out += self._force(rest, new, members, share)
        for group in rest:
            for index in group:
                if self.sides[index] == NONE:
                    self.sides[index] = TRAIN
        held_out -= self._give_back(free, members)
        return held_out - before

    def _put(self, group: list[int], side: str) -> int:
        """Assign a group; returns how many frames it holds out."""
        for index in group:
            self.sides[index] = side
        return len(group) * (side == VALID)

    def _draw(self, groups: list[list[int]], share: float, held_out: int, most: int) -> int:
        """Hold out whole groups, each if it brings the count nearer to the share."""
        drawn = 0
        for group in sorted(groups, key=lambda group: self.rank(group[0])):
            after = held_out + drawn + len(group)
            if after - share < share - held_out - drawn and after <= most:
                drawn += self._put(group, VALID)
        return drawn

    def _force(self, groups, block, members, share) -> int:
        """Hold out something where every group is larger than the share."""
        if groups:
            smallest = min(groups, key=lambda group: (len(group), self.rank(group[0])))
            if len(smallest) <= len(members) / 2:
                return self._put(smallest, VALID)
        self.torn |= set(members)
        count = min(round(share), len(block))
        return self._put(sorted(block, key=self.rank)[:count], VALID)

    def _give_back(self, free: list[list[int]], members: list[int]) -> int:
        """Let each stratum with two frames or more train on one; how many fewer are held out.

        What has no training frame is neither learnt nor walked. Only what this block's draw held
        out is given back, so that no frame changes sides later; if it was all that is held out,
        other frames of the block take its place, or it stays where it is.
        """
        strata: dict[str, list[int]] = defaultdict(list)
        for index in members:
            strata[self.strata[index]].append(index)
        fewer = 0
        for stratum, own in sorted(strata.items()):
            mine = [group for group in free if any(self.strata[k] == stratum for k in group)]
            if len(own) < 2 or not mine or any(self.sides[k] == TRAIN for k in own):
                continue
            group = max(mine, key=lambda group: self.rank(group[0]))
            if self.torn.issuperset(group):
                group = [max((k for k in group if k in own), key=self.rank)]
            if any(self.sides[k] == VALID for k in members if k not in group):
                instead = []
            else:
                spare = [g for g in free if self._can_be_spared(g, strata)]
                if not spare:
                    continue
                instead = min(spare, key=lambda group: (len(group), self.rank(group[0])))
            self._put(group, TRAIN)
            fewer += len(group) - self._put(instead, VALID)
        return fewer

    def _can_be_spared(self, group: list[int], strata: dict[str, list[int]]) -> bool:
        """Whether a group trains, and every stratum in it has other training frames."""
        return all(self.sides[k] == TRAIN for k in group) and all(
            any(self.sides[k] == TRAIN and k not in group for k in strata[self.strata[index]])
            for index in group
        )

    def _beside(
        self, block: list[int], earlier: dict[str, list[int]]
    ) -> list[tuple[list[int], str | None]]:
        """The block's groups of near-duplicates, and the side of earlier frames near each."""
        labels = self.near.components(block)
        side_of = {}
        for side in (TRAIN, VALID):
            left = [k for k, label in enumerate(labels) if label not in side_of]
            near = self.near.among([block[k] for k in left], earlier[side])
            side_of |= {labels[k]: side for k, is_near in zip(left, near, strict=True) if is_near}
        return [(group, side_of.get(label)) for label, group in _groups(block, labels).items()]

    def near_held_out(self) -> set[int]:
        """Training frames near held-out ones, unless both are in streams that were split inside."""
        given = np.array(self.sides)
        torn = np.isin(np.arange(len(given)), list(self.torn))
        found = set()
        for some, others in (
            (given == TRAIN, (given == VALID) & ~torn),
            ((given == TRAIN) & ~torn, (given == VALID) & torn),
        ):
            some = np.flatnonzero(some)
            found |= set(some[self.near.among(some, np.flatnonzero(others))].tolist())
        return found

    def _by_walker(self, groups: list[list[int]]) -> list[list[int]]:
        """Groups joined where they hold frames of one walker of one generation."""
        block = sorted((i for group in groups for i in group), key=lambda i: self.ids[i])
        chains = [pair for group in groups for pair in pairwise(group)]
        last = {}
        for index in block:
            info = self.frames[index].info
            if WALKER in info:
                walk = (info.get(GENERATION), info[WALKER])
                if walk in last:
                    chains.append((last[walk], index))
                last[walk] = index
        place = {index: position for position, index in enumerate(block)}
        chained = np.array([(place[i], place[j]) for i, j in chains], dtype=int)
        rows, columns = chained.reshape(-1, 2).T
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(block),) * 2)
        return list(_groups(block, connected_components(graph, directed=False)[1]).values())


def _groups(block: list[int], labels: np.ndarray) -> dict[int, list[int]]:
    """The block's frames by label, each group in the block's order."""
    groups = defaultdict(list)
    for index, label in zip(block, labels.tolist(), strict=True):
        groups[label].append(index)
    return groups
