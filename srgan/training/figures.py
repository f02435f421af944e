"""The values that steps log, in one vector on the device, so that a step starts few kernels for them and a row needs one copy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srgan.distributed import process_group


@dataclass(frozen=True)
class Figures:
    """Named scalars of a step.

    Attributes:
        names: of the values. They are the same in all steps of a stage.
        vector: the values, `(len(names),)` float32.
    """

    names: tuple[str, ...]
    vector: Tensor

    def __getitem__(self, name: str) -> Tensor:
        return self.vector[self.names.index(name)]


def figures(values: Mapping[str, Tensor]) -> Figures:
    """Return the means of scalars over all processes, without waiting for the device."""
    return Figures(tuple(values), process_group.all_reduce_mean(torch.stack(list(values.values()))))


def mean_of_parts(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the means of the values of the gradient accumulation steps."""
    if len(parts) == 1:
        return {name: value.detach() for name, value in parts[0].items()}
    means = torch.stack([torch.stack(list(part.values())).detach() for part in parts]).mean(0)
    return dict(zip(parts[0], means.unbind(), strict=True))


class RunningSums(Mapping[str, Tensor]):
    """Sums of the figures of the steps since the last row."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin with the next step."""
        self.names: tuple[str, ...] = ()
        self.vector = torch.zeros(0)
        self.steps = 0

    def add(self, figures: Figures) -> None:
        """Add a step."""
        if self.names != figures.names:  # of the first step, or of the version that wrote the loaded state
            zero = torch.zeros_like(figures.vector[0])
            self.vector = torch.stack([self.get(name, zero) for name in figures.names])
            self.names = figures.names
        self.vector.add_(figures.vector)
        self.steps += 1

    def load(self, sums: Mapping[str, Tensor], steps: int, device: torch.device) -> None:
        """Continue with the sums of a checkpoint."""
        self.clear()
        if sums:
            self.names, self.vector = tuple(sums), torch.stack(list(sums.values())).to(device)
        self.steps = steps

    def means(self) -> Figures:
        """Return the means over the steps."""
        return Figures(self.names, self.vector / self.steps)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.vector[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
