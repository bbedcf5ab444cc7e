"""What mace-torch has and this model has not, to be refused by name when a file asks for it."""

#: Classes of models, by name.
MODELS = {
    "BOTNet": "a deprecated architecture",
    "ScaleShiftBOTNet": "a deprecated architecture",
    "AtomicDipolesMACE": "dipoles",
    "AtomicDielectricMACE": "dipoles and polarisabilities",
    "EnergyDipolesMACE": "dipoles",
    "MACELES": "latent Ewald summation",
    "PolarMACE": "long-range electrostatics",
}

#: Classes of interaction blocks, by name.
INTERACTIONS = {
    "RealAgnosticAttResidualInteractionBlock": "radial weights that depend on node features",
    "RealAgnosticResidualNonLinearInteractionBlock": "gated non-linear messages",
}

#: Classes of readouts, by name.
READOUTS = {
    "NonLinearBiasReadoutBlock": "a readout with biases",
    "GeneralNonLinearBiasReadoutBlock": "a readout with biases",
    "LinearDipoleReadoutBlock": "dipoles",
    "NonLinearDipoleReadoutBlock": "dipoles",
    "LinearDipolePolarReadoutBlock": "dipoles and polarisabilities",
    "NonLinearDipolePolarReadoutBlock": "dipoles and polarisabilities",
}

#: Options of mace-torch's MACE: the one value known here, and what another one would mean.
OPTIONS = {
    "apply_cutoff": (True, "the cutoff behind the radial network"),
    "use_so3": (False, "features without parity"),
    "use_agnostic_product": (False, "product weights shared by all elements"),
    "use_last_readout_only": (False, "no readout of the earlier layers"),
    "keep_last_layer_irreps": (False, "a last layer with l > 0"),
    "use_embedding_readout": (False, "a readout of the embedding"),
    "embedding_specs": (None, "embeddings of total charge, spin or other quantities"),
    "edge_irreps": (None, "messages with other irreps than the features"),
    "use_edge_irreps_first": (False, "messages with other irreps than the features"),
}
