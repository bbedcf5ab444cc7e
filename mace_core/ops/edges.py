"""Who receives from whom."""

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges sorted by receiver.

    Attributes:
        receivers: [n_edges].
        senders: [n_edges].
        n_atoms: number of receivers.
        pair: [n_edges] the row of radial functions that an edge uses: both directions of a pair of
            atoms can share one. None: each edge has its own.
    """

    receivers: torch.Tensor
    senders: torch.Tensor
    n_atoms: int
    pair: torch.Tensor | None = None

    @classmethod
    def build(
        cls,
        receivers: torch.Tensor,
        senders: torch.Tensor,
        n_atoms: int,
        pair: torch.Tensor | None = None,
    ) -> "Edges":
        """From sorted ``receivers`` [n_edges] and their ``senders``."""
        senders, pair = senders.contiguous(), None if pair is None else pair.contiguous()
        return cls(receivers, senders, n_atoms, pair)

    @cached_property
    def first(self) -> torch.Tensor:
        """[n_atoms + 1] where each receiver's edges begin."""
        counts = torch.bincount(self.receivers, minlength=self.n_atoms)
        return torch.nn.functional.pad(counts.cumsum(0), (1, 0))

    @cached_property
    def width(self) -> int:
        """Largest number of edges that an atom receives."""
        return int(self.first.diff().max()) if self.n_atoms else 0

    @cached_property
    def slots(self) -> torch.Tensor:
        """[n_edges] receiver · width + the edge's rank among the receiver's edges."""
        n_edges = len(self.receivers)
        rank = torch.arange(n_edges, device=self.receivers.device) - self.first[self.receivers]
        return self.receivers * self.width + rank

    def of_pairs(self, x: torch.Tensor) -> torch.Tensor:
        """[n_pairs, …] → [n_edges, …]; as it is where edges share nothing."""
        return x if self.pair is None else x.index_select(0, self.pair)

    def by_receiver(self, x: torch.Tensor) -> torch.Tensor:
        """[n_edges, rows, n] → [n_atoms, width · rows, n], zero where an atom has fewer edges."""
        if len(x) != self.n_atoms * self.width:
            x = x.new_zeros(self.n_atoms * self.width, *x.shape[1:]).index_copy(0, self.slots, x)
        return x.reshape(self.n_atoms, self.width * x.shape[1], x.shape[2])
