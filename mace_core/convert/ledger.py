"""Crosses off what of a file is understood, and refuses the rest by name."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch

from mace_core.convert.stored import Stored, irreps
from mace_core.errors import UserError
from mace_core.model import unsupported


class Ledger:
    """What of a model was read so far.

    Args:
        model: of the file.

    Attributes:
        left: tensors that are not understood yet, by their names in ``state_dict``.
        used: those to keep.
        notes: what a reader should know of the file.
    """

    def __init__(self, model: Stored):
        self.model = model
        self.left = dict(model.named_tensors())
        self.dtype = self.left.get("node_embedding.linear.weight", torch.empty(0)).dtype
        self.used: dict[str, torch.Tensor] = {}
        self.notes: list[str] = []

    def take(self, name: str) -> torch.Tensor:
        """A tensor that is understood."""
        if name not in self.left:
            raise UserError(f"the file has no {name}", where=self.model.kind)
        return self.left.pop(name)

    def use(self, name: str, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """A tensor to keep, changed in float64 if at all."""
        tensor = self.take(name)
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name} has entries that are not finite", where=self.model.kind)
        self.used[name] = tensor if change is None else change(tensor.double()).to(tensor.dtype)

    def compare(self, name: str, expected: torch.Tensor) -> None:
        """A constant that the function fixes: refused if it is another one."""
        tensor, expected = self.take(name).double(), expected.double()
        if tensor.shape != expected.shape or not torch.allclose(
            tensor, expected, rtol=1e-6, atol=0
        ):
            shown, other = tensor.flatten()[:5].tolist(), expected.flatten()[:5].tolist()
            raise UserError(
                f"{name} is {shown}, not {other}",
                where=self.model.kind,
                mend="trained constants are not supported",
            )
        if self.dtype == torch.float64 and not torch.allclose(tensor, expected, rtol=1e-14, atol=0):
            self.notes.append(
                f"{name} was rounded to float32 once, here it is exact: numbers may differ from "
                "those of the file by 1e-7 of their value"
            )

    def of_kind(self, block: Stored, *kinds: str) -> None:
        if block.kind not in kinds:
            reason = {**unsupported.INTERACTIONS, **unsupported.READOUTS}.get(block.kind)
            what = f"{block.kind} ({reason})" if reason else block.kind
            self.refuse(block, what, f"supported: {', '.join(kinds)}")

    def only(self, block: Stored, known: Iterable[str]) -> None:
        """Refuses submodules besides ``known``."""
        unknown = sorted({*block.modules} - {*known})
        if unknown:
            self.refuse(block, f"parts of unknown meaning: {', '.join(unknown)}")

    def attributes(self, block: Stored, **allowed: Callable[[Any], bool]) -> None:
        """Refuses options that are switched on and not supported."""
        for name, value in block.attributes.items():
            if value is None or (value is False and name not in allowed):
                continue
            if name not in allowed or not allowed[name](value):
                reason = unsupported.OPTIONS.get(name, (None, "an option of unknown meaning"))[1]
                self.refuse(block, f"{name} = {getattr(value, 'name', value)} ({reason})")

    def natural(self, block: Stored, name: str) -> tuple[int, int]:
        """(channels, largest l) of irreps C x 0e + C x 1o + C x 2e …"""
        found = irreps(block.attributes[name])
        channels = found[0][0]
        if found != [(channels, l, (-1) ** l) for l in range(len(found))]:
            text = "+".join(f"{mul}x{l}{'e' if p == 1 else 'o'}" for mul, l, p in found)
            self.refuse(
                block, f"{name} {text}", "supported: equal channels, l = 0, 1, …, parity (−1)^l"
            )
        return channels, len(found) - 1

    def refuse(self, block: Stored, what: str, why: str = "") -> NoReturn:
        """Ends the reading."""
        raise UserError(
            f"not supported: {what}", where=f"{block.path or 'the model'} ({block.kind})", mend=why
        )
