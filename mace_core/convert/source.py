"""What a mace-torch module is, read from its stored attributes and tensors.

Nothing is assumed: what is not known to leave the function as it is, is refused by its name, and
every tensor of the file is either used, compared with what it should be, or refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from mace_core.convert.basis import column_map
from mace_core.convert.ledger import Ledger
from mace_core.convert.stored import Stored, irreps, number
from mace_core.convert.unpickle import Recorded
from mace_core.model import unsupported
from mace_core.model.interaction import BLOCKS
from mace_core.model.radial import SILU_FACTOR

BASES = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
TRANSFORMS = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}
CONSTANTS = {
    "Agnesi": ("q", "p", "a", "covalent_radii"),
    "Soft": ("alpha", "covalent_radii"),
    "ZBL": ("c", "a_exp", "a_prefactor", "covalent_radii"),
}
SILU = "torch.nn.functional.silu"


@dataclass
class Source:
    """A model in mace-torch's terms.

    Attributes:
        kind: ``ScaleShiftMACE`` or ``MACE``.
        options: arguments of its constructor that say what function it is, as JSON.
        tensors: weights and constants, by their names in ``state_dict``.
        notes: what a reader should know of the file.
    """

    kind: str
    options: dict[str, Any]
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors["node_embedding.linear.weight"].dtype


def read_source(model: Stored) -> Source:
    """The model in a file.

    Args:
        model: of the file.

    Raises:
        UserError: naming what this version does not support.
    """
    return _Reading(model).source()


class _Reading(Ledger):
    """Goes through the tree once."""

    def source(self) -> Source:
        model = self.model
        if model.kind not in ("ScaleShiftMACE", "MACE"):
            self.refuse(
                model,
                unsupported.MODELS.get(model.kind, f"a {model.kind}"),
                "only models of the classes ScaleShiftMACE and MACE can be imported",
            )
        self.top(model)
        options = {
            "r_max": number(self.take("r_max")),
            "atomic_numbers": self.take("atomic_numbers").tolist(),
            "num_interactions": len(model["interactions"].modules),
            "heads": list(model.attributes.get("heads") or ["Default"]),
        }
        self.compare("num_interactions", torch.tensor(options["num_interactions"]))
        zs = options["atomic_numbers"]
        if zs != sorted(zs):
            self.refuse(model, "its elements are not sorted by atomic number")
        options |= self.radial(model["radial_embedding"], options["r_max"])
        options |= self.angular(model["spherical_harmonics"])
        options |= self.layers(options)
        options |= self.readouts(options)
        self.use("node_embedding.linear.weight")
        self.use("atomic_energies_fn.atomic_energies")
        options["pair_repulsion"] = "pair_repulsion_fn" in model.modules
        if options["pair_repulsion"]:
            self.of_kind(model["pair_repulsion_fn"], "ZBLBasis")
            for name in CONSTANTS["ZBL"]:
                self.use(f"pair_repulsion_fn.{name}")
            p = torch.tensor(options["num_polynomial_cutoff"])
            self.compare("pair_repulsion_fn.p", p)
        if model.kind == "ScaleShiftMACE":
            self.of_kind(model["scale_shift"], "ScaleShiftBlock")
            self.use("scale_shift.scale")
            self.use("scale_shift.shift")
        for name in [
            n for n, t in self.left.items() if t.numel() == 0 or n.endswith("output_mask")
        ]:
            self.take(name)
        if self.left:
            self.refuse(model, f"tensors of unknown meaning: {', '.join(sorted(self.left))}")
        return Source(model.kind, options, self.used, self.notes)

    def top(self, model: Stored) -> None:
        """What a model may have besides its blocks."""
        blocks = {"node_embedding", "radial_embedding", "spherical_harmonics", "interactions"}
        blocks |= {"atomic_energies_fn", "products", "readouts", "scale_shift", "pair_repulsion_fn"}
        self.only(model, blocks)
        self.attributes(
            model,
            heads=lambda v: True,
            apply_cutoff=lambda v: v is True,
            use_reduced_cg=lambda v: True,  # the couplings themselves are compared
            edge_irreps=lambda v: True,  # as are those of the interactions
            use_edge_irreps_first=lambda v: True,
            pair_repulsion=lambda v: v is True,
        )
        self.of_kind(model["node_embedding"], "LinearNodeEmbeddingBlock")
        self.of_kind(model["node_embedding.linear"], "Linear")
        self.of_kind(model["atomic_energies_fn"], "AtomicEnergiesBlock")

    def radial(self, block: Stored, r_max: float) -> dict[str, Any]:
        self.of_kind(block, "RadialEmbeddingBlock")
        self.only(block, {"bessel_fn", "cutoff_fn", "distance_transform"})
        self.attributes(block, out_dim=lambda v: True, apply_cutoff=lambda v: v is True)
        basis, cutoff = block["bessel_fn"], block["cutoff_fn"]
        self.of_kind(basis, *BASES)
        self.of_kind(cutoff, "PolynomialCutoff")
        kind, n = BASES[basis.kind], int(block.attributes["out_dim"])
        order = torch.arange(1, n + 1, dtype=torch.float64)
        if kind == "bessel":
            self.compare(f"{basis.path}.bessel_weights", order * (math.pi / r_max))
            self.compare(f"{basis.path}.prefactor", _scalar(math.sqrt(2 / r_max)))
            self.compare(f"{basis.path}.r_max", _scalar(r_max))
        elif kind == "gaussian":
            centres = torch.linspace(0, r_max, n, dtype=torch.float64)
            self.compare(f"{basis.path}.gaussian_weights", centres)
        else:
            self.compare(f"{basis.path}.n", order.unsqueeze(0))
            self.notes.append(
                "mace-torch's forces of models with Chebyshev polynomials leave out the derivative "
                "of the basis; here they are the derivative of the energy, and differ"
            )
        self.compare(f"{cutoff.path}.r_max", _scalar(r_max))
        transform = "None"
        if "distance_transform" in block.modules:
            module = block["distance_transform"]
            self.of_kind(module, *TRANSFORMS)
            transform = TRANSFORMS[module.kind]
            for name in CONSTANTS[transform]:
                self.use(f"{module.path}.{name}")
        return {
            "num_bessel": n,
            "num_polynomial_cutoff": int(number(self.take(f"{cutoff.path}.p"))),
            "radial_type": kind,
            "distance_transform": transform,
        }

    def angular(self, block: Stored) -> dict[str, Any]:
        self.of_kind(block, "SphericalHarmonics")
        normalised = block.attributes.get("normalize"), block.attributes.get("normalization")
        if normalised != (True, "component"):
            self.refuse(block, f"spherical harmonics normalised as {normalised}")
        channels, max_ell = self.natural(block, "irreps_out")
        if channels != 1:
            self.refuse(block, "repeated spherical harmonics")
        return {"max_ell": max_ell}

    def layers(self, options: dict[str, Any]) -> dict[str, Any]:
        model, n = self.model, options["num_interactions"]
        if len(model["products"].modules) != n:
            self.refuse(model, "not as many products as interactions")
        found: dict[str, list] = {
            key: [] for key in ("block", "channels", "max_L", "correlation", "widths", "neighbours")
        }
        for t in range(n):
            interaction, product = model[f"interactions.{t}"], model[f"products.{t}"]
            self.of_kind(interaction, *BLOCKS)
            block = BLOCKS[interaction.kind]
            channels, lmax_in = self.natural(interaction, "node_feats_irreps")
            _, lmax_out = self.natural(interaction, "hidden_irreps")
            if self.natural(interaction, "target_irreps") != (channels, options["max_ell"]):
                self.refuse(interaction, "target_irreps other than all l up to max_ell")
            if "edge_irreps" in interaction.attributes:
                edges = self.natural(interaction, "edge_irreps")
                if edges != (channels, lmax_in):
                    self.refuse(interaction, "edge_irreps other than those of the node features")
            linears = {"linear_up": "Linear", "linear": "Linear"}
            kinds = linears | {
                "conv_tp": "TensorProduct",
                "conv_tp_weights": "FullyConnectedNet",
                "skip_tp": "FullyConnectedTensorProduct",
                "reshape": "reshape_irreps",
            }
            if block.density:
                kinds["density_fn"] = "FullyConnectedNet"
            self.only(interaction, kinds)
            for name, kind in kinds.items():
                self.of_kind(interaction[name], kind)
            for name in ("linear_up", "linear", "skip_tp"):
                self.use(f"{interaction.path}.{name}.weight")
            widths = self.network(interaction["conv_tp_weights"])
            if block.density and len(self.network(interaction["density_fn"])) != 2:
                self.refuse(interaction, "a density with hidden layers")
            found["block"].append(interaction.kind)
            found["channels"].append(channels)
            found["max_L"].append(lmax_out)
            found["widths"].append(widths[1:-1])
            found["neighbours"].append(number(interaction.attributes["avg_num_neighbors"]))
            found["correlation"].append(self.product(product, block.residual, options["max_ell"]))
        for key, values in found.items():
            same = values[1:] if key == "block" else values[:-1] if key == "max_L" else values
            if any(value != same[0] for value in same):
                self.refuse(model, f"layers that differ: {key} {values}")
        if found["max_L"][-1] != 0:
            self.refuse(model, "a last layer with features beyond l = 0 (keep_last_layer_irreps)")
        return {
            "interaction_first": found["block"][0],
            "interaction": found["block"][-1],
            "num_channels": found["channels"][0],
            "max_L": found["max_L"][0],
            "correlation": found["correlation"][0],
            "radial_MLP": found["widths"][0],
            "avg_num_neighbors": found["neighbours"][0],
        }

    def product(self, block: Stored, residual: bool, max_ell: int) -> int:
        """Its correlation; weights are put into the standard basis of couplings."""
        self.of_kind(block, "EquivariantProductBasisBlock")
        self.only(block, {"symmetric_contractions", "linear"})
        self.attributes(
            block, use_sc=lambda v: v or not residual, use_agnostic_product=lambda v: v is False
        )
        self.of_kind(block["symmetric_contractions"], "SymmetricContraction")
        self.use(f"{block['linear'].path}.weight")
        contractions = block["symmetric_contractions.contractions"].modules
        orders = set()
        for L, (name, contraction) in enumerate(contractions.items()):
            self.of_kind(contraction, "Contraction")
            self.only(
                contraction,
                {"contractions_weighting", "contractions_features", "weights"}
                | {n for n in contraction.modules if n.startswith("graph_opt")},
            )
            if name != str(L):
                self.refuse(block, f"contractions named {list(contractions)}")
            correlation = int(contraction.attributes["correlation"])
            orders.add(correlation)
            for nu in range(correlation, 0, -1):
                weights = "weights_max" if nu == correlation else f"weights.{correlation - nu - 1}"
                weights = f"{contraction.path}.{weights}"
                flag = "weights_max" if nu == correlation else f"weights_{nu - 1}"
                self.left.pop(f"{contraction.path}.{flag}_zeroed", None)
                U = self.take(f"{contraction.path}.U_matrix_{nu}")
                columns = column_map(U, max_ell, L, nu, where=contraction.path)
                self.use(weights, columns)
        if len(orders) != 1:
            self.refuse(block, f"several correlations: {sorted(orders)}")
        return orders.pop()

    def readouts(self, options: dict[str, Any]) -> dict[str, Any]:
        model, n, heads = self.model, options["num_interactions"], len(options["heads"])
        if len(model["readouts"].modules) != n:
            self.refuse(model, f"{len(model['readouts'].modules)} readouts for {n} layers")
        hidden = 16
        for t in range(n):
            block = model[f"readouts.{t}"]
            if t < n - 1 or n == 1:
                self.of_kind(block, "LinearReadoutBlock")
                self.use(f"{block.path}.linear.weight")
                continue
            self.of_kind(block, "NonLinearReadoutBlock")
            self.only(block, {"linear_1", "linear_2", "non_linearity"})
            scalars = irreps(block.attributes["hidden_irreps"])
            if len(scalars) != 1 or scalars[0][1:] != (0, 1) or scalars[0][0] % heads:
                self.refuse(block, f"hidden_irreps {scalars}")
            hidden = scalars[0][0] // heads
            acts = block["non_linearity.acts"].modules
            if len(acts) != 1:
                self.refuse(block, "gate: none" if not acts else "several gates")
            factor = self.silu(acts["0"])
            self.use(f"{block.path}.linear_1.weight")
            self.use(f"{block.path}.linear_2.weight", _times(factor))
        return {"MLP_irreps": f"{hidden}x0e"}

    def network(self, block: Stored) -> list[int]:
        """Widths of an e3nn FullyConnectedNet with SiLU between its layers."""
        factor, widths = 1.0, []
        for k, (name, layer) in enumerate(block.modules.items()):
            self.of_kind(layer, "_Layer")
            variances = layer.attributes.get("var_in", 1), layer.attributes.get("var_out", 1)
            if name != f"layer{k}" or variances != (1, 1):
                self.refuse(layer, f"variances {variances}")
            shape = list(layer.tensors["weight"].shape)
            widths = [*(widths or shape[:1]), shape[1]]
            self.use(f"{layer.path}.weight", _times(factor))
            last = k == len(block.modules) - 1
            if last == ("act" in layer.modules):
                self.refuse(layer, "activations elsewhere than between layers")
            if not last:
                factor = self.silu(layer["act"])
        return widths

    def silu(self, act: Stored) -> float:
        """This file's normalisation of SiLU over ours: what must go into the next weights."""
        self.of_kind(act, "normalize2mom")
        f = act.attributes.get("f")
        name = getattr(f, "name", type(f).__name__)
        if isinstance(f, Recorded) or name != SILU:
            self.refuse(act, f"activation {name}", "only silu is supported")
        ratio = number(act.attributes["cst"]) / SILU_FACTOR
        if abs(ratio - 1) > 1e-4:
            self.refuse(act, f"SiLU times {number(act.attributes['cst'])}")
        # The constant is the mean over a million draws, whose last digits depend on the build.
        return ratio if abs(ratio - 1) > 1e-14 else 1.0


def _scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _times(factor: float) -> Callable[[torch.Tensor], torch.Tensor] | None:
    return None if factor == 1.0 else lambda tensor: tensor * factor
