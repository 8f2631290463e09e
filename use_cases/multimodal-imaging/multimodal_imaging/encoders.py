"""Encoders: one small network for each modality, from what a patient has of it to an embedding.

* Tables (genome, phenome, omics): two layers. Beside every standardised feature stands one that says whether it is
  missing; a missing value counts as the mean.
* Pictures and volumes: convolutions of stride 2, each followed by a normalisation, then the mean over a grid of two
  cells along each axis. The cells keep roughly where something is, and the number of weights does not depend on the
  grid of the images.

The normalisation is GroupNorm (Wu and He, ECCV 2018): it looks at one patient at a time, so that nothing about the
others of a batch enters, and it has no running statistics, which would be means over DIZ whose images differ. BatchNorm
(Ioffe and Szegedy, ICML 2015) is there as the bad baseline that it is in federated averaging, and for FedBN.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from multimodal_imaging.errors import InputError

GROUP, BATCH, NONE = "group", "batch", "none"
CELLS = 2
"""Of the last grid of an image encoder, along each axis."""


@dataclass(frozen=True)
class Input:
    """What a network is given of one modality.

    Attributes:
        name: The modality.
        shape: (f,) features of a table, (H, W) of pictures or (D, H, W) of volumes.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def image(self) -> bool:
        """Whether these are pictures or volumes."""
        return len(self.shape) > 1

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one patient's tensor: (2 f,) with the indicators of missing values, or (1, *shape)."""
        return (1, *self.shape) if self.image else (2 * self.shape[0],)


@dataclass(frozen=True)
class Sizes:
    """How large encoders are.

    Attributes:
        embedding: Numbers that each encoder gives.
        hidden: Hidden units of encoders of tables.
        channels: Of the layers of image encoders.
        norm: `GROUP`, `BATCH` or `NONE`.
        groups: Of GroupNorm; where they do not divide a layer's channels, their greatest common divisor is taken.
        dropout: Share of units left out while training.
    """

    embedding: int = 16
    hidden: int = 32
    channels: tuple[int, ...] = (8, 16, 32)
    norm: str = GROUP
    groups: int = 4
    dropout: float = 0.1


def encoder(of: Input, sizes: Sizes) -> nn.Module:
    """An encoder, (b, *of.sample) -> (b, sizes.embedding), with first weights from torch's current seed.

    Raises:
        InputError: The image is so small that a layer would have nothing left.
    """
    return _image_encoder(of, sizes) if of.image else _table_encoder(of, sizes)


def normalisation(sizes: Sizes, channels: int, dimensions: int) -> nn.Module:
    """A layer for (b, channels, ...) with this many dimensions after the channels."""
    if sizes.norm == BATCH:
        # momentum is a number, so that no counter of batches is kept, which could not be averaged
        return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions](channels)
    if sizes.norm == GROUP and sizes.groups:
        groups = max(g for g in range(1, sizes.groups + 1) if sizes.groups % g == 0 and channels % g == 0)
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


def _table_encoder(of: Input, sizes: Sizes) -> nn.Module:
    return nn.Sequential(
        nn.Linear(of.sample[0], sizes.hidden),
        normalisation(sizes, sizes.hidden, 0),
        nn.SiLU(),
        nn.Dropout(sizes.dropout),
        nn.Linear(sizes.hidden, sizes.embedding),
    )


def _image_encoder(of: Input, sizes: Sizes) -> nn.Module:
    dimensions, sides, layers, before = len(of.shape), of.shape, list[nn.Module](), 1
    convolution: type[nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv3d
    for channels in sizes.channels:
        if min(sides) <= CELLS:
            raise InputError(
                f"Images of {'x'.join(map(str, of.shape))} are too small for {len(sizes.channels)} layers that halve "
                "them; state fewer channels, or a finer grid."
            )
        layers += [
            convolution(before, channels, kernel_size=3, stride=2, padding=1),
            normalisation(sizes, channels, dimensions),
            nn.SiLU(),
        ]
        sides, before = tuple((side + 1) // 2 for side in sides), channels
    layers += [
        _Cells(dimensions),
        nn.Dropout(sizes.dropout),
        nn.Linear(before * CELLS**dimensions, sizes.embedding),
    ]
    return nn.Sequential(*layers)


class _Cells(nn.Module):
    """The mean over each of `CELLS` parts along each axis: (b, c, ...) -> (b, c * CELLS^dimensions)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(CELLS) if dimensions == 2 else nn.AdaptiveAvgPool3d(CELLS)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.flatten(self.pool(x), start_dim=1)


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module has."""
    return sum(prod(p.shape) for p in module.parameters())
