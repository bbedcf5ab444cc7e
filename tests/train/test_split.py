"""The held-out split: it does not leak, does not move, and depends on no order."""

from collections import Counter
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from near_pairs import near_pairs

from mace_core.frames import canonical, frame_id
from mace_core.train import split
from mace_core.train.split import NONE, TRAIN, VALID


def split_frames(*args) -> list[str]:
    return split.split_frames(*args).sides


WATER = molecule("H2O")  # few degrees of freedom: near-duplicates by chance, too
ETHANOL = molecule("CH3CH2OH")


def frame(seed: int, std: float = 0.15, of: Atoms = WATER, **info) -> Atoms:
    atoms = of.copy()
    atoms.positions += np.random.default_rng(seed).normal(0, std, atoms.positions.shape)
    atoms.info.update(info)
    return canonical(atoms)


def twin(atoms: Atoms, seed: int) -> Atoms:
    copy = frame(seed, 0.003, atoms)
    copy.rotate(37.0 * (seed + 1), "zyx"[seed % 3])
    return canonical(copy)


def leaks(frames: list[Atoms], sides: list[str]) -> int:
    return sum({sides[i], sides[j]} == {TRAIN, VALID} for i, j in near_pairs(frames))


@st.composite
def campaigns(draw):
    """Blocks of frames in one or two streams, with near-duplicates within and across blocks."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    frames, arrivals = [], []
    for stream in ["campaign", "files"][: draw(st.integers(1, 2))]:
        for block in range(draw(st.integers(1, 4))):
            for number in range(draw(st.integers(3, 12))):
                if block == 0 and number < 2:  # or else a stream may be near-duplicates only
                    apart = WATER.copy()
                    apart.positions *= 1.0 + 0.5 * number
                    new = frame(int(rng.integers(10**6)), of=apart, std=0.02)
                elif frames and rng.random() < 0.3:
                    new = twin(frames[rng.integers(len(frames))], int(rng.integers(99)))
                else:
                    new = frame(int(rng.integers(10**6)))
                if rng.random() < 0.5:
                    new.info.update(walker=int(rng.integers(3)), generation=block)
                new.info["stratum"] = f"s{rng.integers(3 + 3 * block)}"
                frames.append(new)
                arrivals.append((stream, block))
    return frames, arrivals


@settings(max_examples=30, deadline=None)
@given(campaign=campaigns(), fraction=st.sampled_from([0.1, 0.3]), seed=st.integers(0, 99))
def test_no_leak_no_empty_side_and_any_order(campaign, fraction, seed):
    frames, arrivals = campaign
    sides = split_frames(frames, fraction, seed, arrivals)
    assert TRAIN in sides and VALID in sides
    if leaks(frames, sides):  # every training frame lies near a held-out one
        pairs = near_pairs(frames).tolist()
        near = {a for pair in pairs for a, b in (pair, pair[::-1]) if sides[b] == VALID}
        assert near >= {index for index, side in enumerate(sides) if side == TRAIN}
    order = np.random.default_rng(seed).permutation(len(frames))
    again = split_frames([frames[i] for i in order], fraction, seed, [arrivals[i] for i in order])
    assert [again[position] for position in np.argsort(order)] == sides


@settings(max_examples=30, deadline=None)
@given(campaign=campaigns(), seed=st.integers(0, 99))
def test_held_out_frames_stay_held_out_as_data_grow(campaign, seed):
    frames, arrivals = campaign
    last = max(arrivals, key=lambda arrival: arrival[1])
    before = [i for i, arrival in enumerate(arrivals) if arrival != last]
    if len({arrivals[i] for i in before}) == 0:
        return
    old = split_frames([frames[i] for i in before], 0.2, seed, [arrivals[i] for i in before])
    new = split_frames(frames, 0.2, seed, arrivals)
    for index, side in zip(before, old, strict=True):
        if side == VALID:
            assert new[index] == VALID
        else:
            assert new[index] in (TRAIN, NONE)


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=9), min_size=1, max_size=3),
    fraction=st.sampled_from([0.1, 0.3, 0.6]),
    seed=st.integers(0, 10**6),
)
def test_a_stratum_of_two_frames_or_more_trains_on_one(blocks, fraction, seed):
    numbered = [(block, name) for block, names in enumerate(blocks) for name in names]
    frames = [
        frame(seed + k, of=ETHANOL, stratum=f"s{name}") for k, (_, name) in enumerate(numbered)
    ]
    arrivals = [("campaign", block) for block, _ in numbered]
    sides = split_frames(frames, fraction, seed, arrivals)
    assert NONE not in sides  # no near-duplicates among these
    for name, n in Counter(name for _, name in numbered).items():
        own = {side for side, (_, s) in zip(sides, numbered, strict=True) if s == name}
        assert n < 2 or TRAIN in own
    assert len(frames) < 2 or {TRAIN, VALID} == set(sides)


def test_the_share_is_met_and_the_seed_matters():
    frames = [frame(seed, of=ETHANOL) for seed in range(200)]
    sides = split_frames(frames, 0.1, 0)
    assert Counter(sides) == {TRAIN: 180, VALID: 20}
    assert split_frames(frames, 0.1, 1) != sides


def test_walkers_stay_together_as_long_as_enough_is_held_out():
    frames = [
        frame(100 * w + i, of=ETHANOL, walker=w, generation=1) for w in range(10) for i in range(5)
    ]
    sides = split_frames(frames, 0.2, 0)
    for walker in range(10):
        assert len(set(sides[5 * walker : 5 * walker + 5])) == 1
    assert sides.count(VALID) == 10


def test_a_single_walker_is_not_kept_together_at_the_price_of_no_held_out_frames():
    frames = [frame(seed, of=ETHANOL, walker=0, generation=1) for seed in range(30)]
    assert split_frames(frames, 0.1, 0).count(VALID) == 3


def test_nothing_but_near_duplicates_is_split_all_the_same():
    first = frame(0)
    frames = [twin(first, seed) for seed in range(10)]
    sides = split_frames(frames, 0.2, 0)
    assert Counter(sides) == {TRAIN: 8, VALID: 2}
    # More of them later, near both sides: they are not trained on beside held-out twins.
    later = frames + [twin(first, seed + 20) for seed in range(5)]
    later += [frame(seed + 50, of=ETHANOL) for seed in range(10)]
    grown = split_frames(later, 0.2, 0, [("", 0)] * 10 + [("", 1)] * 15)
    assert grown[:10] == sides
    assert grown[10:15] == [NONE] * 5


def test_later_twins_take_the_side_of_the_first():
    frames = [frame(seed, of=ETHANOL) for seed in range(10)]
    twins = [twin(atoms, seed) for seed, atoms in enumerate(frames)]
    arrivals = [("", 0)] * 10 + [("", 1)] * 10
    sides = split_frames(frames + twins, 0.3, 0, arrivals)
    assert Counter(sides[:10]) == {TRAIN: 7, VALID: 3}
    assert sides[10:] == sides[:10]


def test_later_twins_of_a_held_out_frame_are_held_out_however_many():
    frames = [frame(seed, of=ETHANOL) for seed in range(10)]
    sides = split_frames(frames, 0.1, 0)
    twins = [twin(frames[sides.index(VALID)], seed) for seed in range(10)]
    grown = split_frames(frames + twins, 0.1, 0, [("", 0)] * 10 + [("", 1)] * 10)
    assert grown == sides + [VALID] * 10


def test_a_frame_that_links_two_sides_is_left_out():
    left = frame(1)
    toward = np.random.default_rng(3).normal(size=(3, 3))
    toward *= 0.02 / np.abs(toward).max()
    middle, right = left.copy(), left.copy()
    scale = 1.0
    while True:  # until the ends are no longer duplicates of each other
        middle.positions = left.positions + scale * toward
        right.positions = left.positions + 2 * scale * toward
        links = {tuple(p) for p in near_pairs([left, middle, right]).tolist()}
        if links == {(0, 1), (1, 2)}:
            break
        scale += 0.05
    left, middle, right = (canonical(a) for a in (left, middle, right))
    seeds = [s for s in range(99) if split_frames([left, right], 0.5, s) == [TRAIN, VALID]]
    sides = split_frames([left, right, middle], 0.5, seeds[0], [("", 0), ("", 0), ("", 1)])
    assert sides == [TRAIN, VALID, NONE]


def test_two_frames_and_one():
    frames = [frame(0), frame(1)]
    assert sorted(split_frames(frames, 0.1, 0)) == [TRAIN, VALID]
    assert sorted(split_frames(frames, 0.1, 0, [("a", 0), ("b", 0)])) == [TRAIN, VALID]
    assert split_frames(frames[:1], 0.1, 0) == [TRAIN]
    assert split_frames([], 0.1, 0) == []
    assert frame_id(frames[0]) != frame_id(frames[1])


def _grown(campaign, seeds, fractions):
    """A campaign split once for each block, each time with what was drawn before."""
    frames, arrivals = campaign
    blocks = sorted({block for _, block in arrivals})
    before, history = {}, []
    for block, seed, fraction in zip(blocks, seeds, fractions, strict=False):
        part = [i for i, (_, b) in enumerate(arrivals) if b <= block]
        found = split.split_frames(
            [frames[i] for i in part],
            fraction,
            seed,
            [arrivals[i] for i in part],
            [before.get(i) for i in part],
        )
        before = dict(zip(part, found.drawn, strict=True))
        history.append(dict(zip(part, found.sides, strict=True)))
    return history


@settings(max_examples=30, deadline=None)
@given(campaign=campaigns(), seed=st.integers(0, 99))
def test_what_was_drawn_before_is_what_would_be_drawn_again(campaign, seed):
    frames, arrivals = campaign
    for step, sides in enumerate(_grown(campaign, [seed] * 4, [0.2] * 4)):
        part = list(sides)
        plain = split_frames([frames[i] for i in part], 0.2, seed, [arrivals[i] for i in part])
        assert list(sides.values()) == plain, step


@settings(max_examples=40, deadline=None)
@given(
    campaign=campaigns(),
    seeds=st.lists(st.integers(0, 99), min_size=4, max_size=4),
    fractions=st.lists(st.sampled_from([0.05, 0.2, 0.5]), min_size=4, max_size=4),
)
def test_another_seed_or_fraction_moves_no_frame(campaign, seeds, fractions):
    frames, _ = campaign
    history = _grown(campaign, seeds, fractions)
    ever = {TRAIN: set(), VALID: set()}
    for sides in history:
        assert TRAIN in sides.values() and VALID in sides.values()
        for index, side in sides.items():
            if side != NONE:
                ever[side].add(index)
    assert not ever[TRAIN] & ever[VALID]
    for now, after in pairwise(history):
        assert all(after[i] == VALID for i, side in now.items() if side == VALID)
    last = history[-1]
    if leaks([frames[i] for i in last], list(last.values())):
        pairs = near_pairs([frames[i] for i in last]).tolist()
        sides = list(last.values())
        near = {a for pair in pairs for a, b in (pair, pair[::-1]) if sides[b] == VALID}
        assert near >= {index for index, side in enumerate(sides) if side == TRAIN}


def test_a_stream_that_was_split_inside_near_duplicates_stays_so():
    """Near-duplicates on both sides, because there was nothing else: both sides keep theirs."""
    first = frame(0)
    frames = [twin(first, seed) for seed in range(10)]
    torn = split.split_frames(frames, 0.2, 0)
    assert all(drawn.torn for drawn in torn.drawn)
    later = frames + [frame(seed + 50, of=ETHANOL) for seed in range(10)]
    arrivals = [("", 0)] * 10 + [("", 1)] * 10
    grown = split.split_frames(later, 0.2, 7, arrivals, [*torn.drawn, *[None] * 10])
    assert grown.sides[:10] == torn.sides and TRAIN in grown.sides[10:]


def test_a_raised_share_leaves_new_frames_to_train_on():
    frames = [frame(seed, of=ETHANOL) for seed in range(120)]
    first = split.split_frames(frames[:100], 0.1, 0)
    arrivals = [("", 0)] * 100 + [("", 1)] * 20
    grown = split.split_frames(frames, 0.4, 1, arrivals, [*first.drawn, *[None] * 20])
    assert grown.sides[:100] == first.sides
    assert Counter(grown.sides[100:]) == {TRAIN: 10, VALID: 10}


def test_a_lowered_share_holds_out_no_more():
    frames = [frame(seed, of=ETHANOL) for seed in range(120)]
    first = split.split_frames(frames[:100], 0.4, 0)
    arrivals = [("", 0)] * 100 + [("", 1)] * 20
    grown = split.split_frames(frames, 0.1, 1, arrivals, [*first.drawn, *[None] * 20])
    assert grown.sides == first.sides + [TRAIN] * 20


def test_a_late_frame_of_an_early_block_moves_none_of_it():
    frames = [frame(seed, of=ETHANOL) for seed in range(30)]
    first = split.split_frames(frames[:-1], 0.2, 0)
    grown = split.split_frames(frames, 0.2, 0, None, [*first.drawn, None])
    assert grown.sides[:-1] == first.sides


def test_with_nothing_else_to_hold_out_a_frame_that_never_trained_comes_first():
    frames = [frame(seed, of=ETHANOL) for seed in range(6)]
    trained = [split.Drawn(TRAIN, False)] * 5
    sides = split.split_frames(frames, 0.1, 0, None, [*trained, None]).sides
    assert sides == [TRAIN] * 5 + [VALID]
    assert split.split_frames(frames[:5], 0.1, 0, None, trained).sides.count(VALID) == 1
