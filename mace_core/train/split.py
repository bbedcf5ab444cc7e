"""Which frames are held out of training: a split that does not leak and does not move."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mace_core.conventions import GENERATION, WALKER
from mace_core.frames import frame_id
from mace_core.storage import derived_seed
from mace_core.train.duplicates import near_duplicates

TRAIN, VALID, NONE = "train", "valid", "none"


def split_frames(
    frames: Sequence[Atoms],
    valid_fraction: float,
    seed: int,
    arrivals: Sequence[tuple[str, int]] | None = None,
) -> list[str]:
    """The side of every frame: ``train``, ``valid``, or ``none`` (left out).

    Frames come in streams of blocks (the generations of the campaign; the user's files). Each
    block is split once, after the earlier blocks of its stream: frames that are near-duplicates
    of each other (:func:`~mace_core.train.duplicates.near_duplicates`, linked through any chain
    within the block) form a group; a group near an earlier frame takes that frame's side; the
    other groups are drawn whole, in an order that depends on the seed and the id of the group's
    first frame, as long as a group brings the stream's held-out count nearer to its share. Frames
    of one walker of one generation are drawn together, unless less than half of the share would
    be held out then.

    Guaranteed:

    - No held-out frame has a near-duplicate in training. A training frame that lies near a
      held-out one nevertheless (it links two groups of different blocks or streams) is left out.
      Two exceptions: a stream whose frames are all near-duplicates has to be split inside; and
      nothing is left out where that would leave nothing to train on.
    - With at least two frames, neither side is empty.
    - A frame that is held out stays so as blocks are appended to streams, with the same seed and
      fraction and unchanged earlier blocks. A frame that trains stays in training or is left out.
      (Streams of a single frame each are the exception: one of them is held out for the moment.)
    - The order of ``frames`` does not matter.

    Args:
        frames: labelled frames.
        valid_fraction: share to hold out.
        seed: of the draw.
        arrivals: (stream, number of its block) of each frame; one block when not given.
    """
    ids = [frame_id(atoms) for atoms in frames]
    arrivals = arrivals or [("", 0)] * len(frames)
    links = near_duplicates(frames)
    streams = defaultdict(lambda: defaultdict(list))
    for index in sorted(range(len(frames)), key=lambda i: ids[i]):
        stream, block = arrivals[index]
        streams[stream][block].append(index)

    split = _Split(frames, ids, links, valid_fraction, seed)
    for _, blocks in sorted(streams.items()):
        split.stream([block for _, block in sorted(blocks.items())])
    sides = split.sides
    if len(frames) > 1 and VALID not in sides:  # streams of a single frame each
        sides[min(range(len(frames)), key=split.rank)] = VALID
        return sides
    left_out = {
        index
        for pair in links
        for index, other in (pair, pair[::-1])
        if sides[index] == TRAIN and sides[other] == VALID and not split.torn >= {index, other}
    }
    if left_out < {index for index, side in enumerate(sides) if side == TRAIN}:
        for index in left_out:
            sides[index] = NONE
    return sides


class _Split:
    """The sides drawn so far."""

    def __init__(self, frames, ids, links, valid_fraction, seed):
        self.frames, self.ids, self.links = frames, ids, links
        self.valid_fraction, self.seed = valid_fraction, seed
        self.sides = [NONE] * len(frames)
        #: Frames of streams that were split inside one group.
        self.torn = set()
        self.near = defaultdict(list)
        for i, j in links.tolist():
            self.near[i].append(j)
            self.near[j].append(i)

    def rank(self, index: int) -> tuple[int, str]:
        """Where a frame, or the group it comes first in, stands in the draw."""
        return derived_seed(self.seed, "split", self.ids[index]), self.ids[index]

    def stream(self, blocks: Iterable[list[int]]) -> None:
        """Assign the blocks of one stream in turn."""
        members, held_out = set(), 0
        for block in blocks:
            earlier = set(members)
            members |= set(block)
            free = []
            for group in self._components(block, self.links):
                sides = {self.sides[j] for i in group for j in self.near[i] if j in earlier}
                if sides:
                    side = TRAIN if TRAIN in sides else VALID
                    held_out += self._put(group, side)
                else:
                    free.append(group)
            most = len(members) - 1
            share = max(1.0, self.valid_fraction * len(members)) if most else 0.0
            walkers = self._by_walker(free)
            held_out += self._draw(walkers, share, held_out, most)
            if held_out < share / 2:
                rest = [group for group in free if self.sides[group[0]] == NONE]
                held_out += self._draw(rest, share, held_out, most)
            rest = [group for group in free if self.sides[group[0]] == NONE]
            if share and not held_out:
                held_out += self._force(rest, block, members, share)
            for group in rest:
                for index in group:
                    if self.sides[index] == NONE:
                        self.sides[index] = TRAIN

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
        self.torn |= members
        count = min(round(share), len(block))
        return self._put(sorted(block, key=self.rank)[:count], VALID)

    def _components(self, block: list[int], links: np.ndarray) -> list[list[int]]:
        """The block's groups of linked frames, each in the block's order."""
        place = {index: position for position, index in enumerate(block)}
        inside = [(place[i], place[j]) for i, j in links.tolist() if i in place and j in place]
        rows, columns = np.array(inside, dtype=int).reshape(-1, 2).T
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(block),) * 2)
        labels = connected_components(graph, directed=False)[1]
        groups = defaultdict(list)
        for index, label in zip(block, labels, strict=True):
            groups[label].append(index)
        return list(groups.values())

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
        return self._components(block, np.array(chains, dtype=int).reshape(-1, 2))
