"""A merged model is the mean of its members."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mace_tools import ARCHITECTURES, E0S, ELEMENTS, SMALL, TOLERANCE, crystal, ethanol
from typer.testing import CliRunner

from mace_core.cli.main import build
from mace_core.config.sections import Model
from mace_core.errors import UserError
from mace_core.model.files import load_model, read_description, save_model
from mace_core.model.graph import batch, graph_of
from mace_core.model.merge import merged
from mace_core.model.model import MACE

MERGEABLE = [
    name for name, a in ARCHITECTURES.items() if "Density" not in f"{a.get('interaction')}"
]


def member(seed: int, **changes) -> MACE:
    """A small model whose every constant is its own."""
    architecture = Model(**{**SMALL, **changes})
    E0s = {z: e + 0.1 * seed for z, e in E0S.items()}
    n = len(architecture.heads)
    return MACE(
        architecture,
        ELEMENTS,
        E0s,
        avg_num_neighbors=5.0 + seed,
        scale=[1.0 + 0.3 * seed + 0.1 * k for k in range(n)],
        shift=[0.2 * seed - k for k in range(n)],
        seed=seed,
    )


def assert_mean(models: list[MACE], head: int | None = None) -> None:
    graphs = [graph_of(atoms, 3.5, ELEMENTS, head=head) for atoms in (crystal(), ethanol(1))]
    graph = batch(graphs)
    found = merged(models)(graph, stress=True)
    each = [m(graph, stress=True) for m in models]
    for name in ("energy", "node_energy", "forces", "stress"):
        mean = torch.stack([getattr(out, name) for out in each]).mean(dim=0)
        torch.testing.assert_close(
            getattr(found, name), mean, atol=TOLERANCE["symmetry"], rtol=0, msg=name
        )
    # Not because they are all alike.
    assert (each[0].forces - each[1].forces).abs().max() > 1e-3


@pytest.mark.parametrize("name", MERGEABLE)
def test_energy_forces_and_stress_are_the_means(name):
    changes = ARCHITECTURES[name]
    for head in range(len(changes.get("heads", ["Default"]))):
        assert_mean([member(seed, **changes) for seed in range(3)], head)


@given(
    channels=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    hidden=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    units=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    layers=st.integers(0, 3),
)
def test_members_may_differ_in_their_widths(channels, hidden, units, layers):
    models = [
        member(k, num_channels=C, radial_MLP=[h] * layers, MLP_irreps=f"{u}x0e", correlation=2)
        for k, (C, h, u) in enumerate(zip(channels, hidden, units, strict=False))
    ]
    assert merged(models).architecture.num_channels == sum(channels)
    assert_mean(models)


def test_one_model_merged_is_itself():
    one = member(2)
    again = merged([one]).state_dict()
    assert all(torch.equal(again[name], t) for name, t in one.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_L": 0}, "differ in max_L: 1, 0"),
        ({"radial_MLP": [16, 16]}, "number of layers in radial_MLP"),
        ({"heads": ["a", "b"]}, "differ in heads"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(changes, said):
    with pytest.raises(UserError, match=said):
        merged([member(0), member(1, **changes)])


def test_densities_are_refused():
    with pytest.raises(UserError, match="divides messages by a density"):
        merged([member(k, **ARCHITECTURES["foundation"]) for k in range(2)])


def test_the_command_merges_a_committee(tmp_path):
    folders = [str(tmp_path / f"member_{k}") for k in range(2)]
    for seed, folder in enumerate(folders):
        save_model(member(seed), folder)
    committee = {"members": folders, "calibration": {"factor": 2.0}}
    (tmp_path / "committee.json").write_text(json.dumps(committee))
    expected = merged([member(0), member(1)]).state_dict()
    for given_ in ([str(tmp_path / "committee.json")], folders):
        out = tmp_path / f"wide_{len(given_)}"
        result = CliRunner().invoke(build(), ["merge-models", *given_, "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert "the mean of 2 models, 8 channels" in " ".join(result.output.split())
        found = load_model(out).state_dict()
        assert all(torch.equal(found[name], t) for name, t in expected.items())
        assert len(read_description(out)["metadata"]["merged"]) == 2
