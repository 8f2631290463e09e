"""The network of all modalities: an encoder each, and a fusion that works with whatever a patient has.

With e_m the embedding of modality m, P the modalities that a patient has, and C outputs (one for a number or for two
classes, else one for each class):

* late fusion: every modality has a head h_m of its own; the output is sum_{m in P} a_m h_m(e_m), with a the softmax
  over P of one learned number for each modality. They begin equal. With "mean" they stay so.
* attention: a learned query q looks for the modalities that tell most about this patient (Bahdanau, Cho and Bengio,
  ICLR 2015; one query over modalities instead of words): a = softmax over P of q . k_m(e_m) / sqrt(d), and the output
  is a head of sum_{m in P} a_m v_m(e_m).

What a patient lacks has weight 0 and is not computed. *Modality dropout* (ModDrop: Neverova et al., IEEE TPAMI 38,
2016) hides present modalities at random while training, never all of them, so that the others learn to do without.

The network falls into parts that are averaged apart, each over the DIZ that have it: everything of one modality is in
``modality.NAME``, its key, value, head and weight included; what is left is ``shared``.
"""

from collections.abc import Mapping, Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from multimodal_imaging.encoders import BATCH, Input, Sizes, encoder
from multimodal_imaging.errors import InputError

LATE, MEAN, ATTENTION = "late", "mean", "attention"
MODALITY, SHARED = "modality", "shared"
"""How the names of the two kinds of parts begin."""


class ModalityPart(nn.Module):
    """All that belongs to one modality: encoder, and its way into the fusion."""

    def __init__(self, of: Input, outputs: int, sizes: Sizes, fusion: str) -> None:
        super().__init__()
        self.encoder = encoder(of, sizes)
        if fusion != ATTENTION:
            self.head = nn.Linear(sizes.embedding, outputs)
        if fusion == LATE:
            self.weight = nn.Parameter(torch.zeros(1))
        if fusion == ATTENTION:
            self.key = nn.Linear(sizes.embedding, sizes.embedding)
            self.value = nn.Linear(sizes.embedding, sizes.embedding)


class SharedPart(nn.Module):
    """What every DIZ trains: the query and the head of attention, or the offset of late fusion."""

    def __init__(self, outputs: int, sizes: Sizes, fusion: str) -> None:
        super().__init__()
        if fusion != ATTENTION:
            self.bias = nn.Parameter(torch.zeros(outputs))
        else:
            self.query = nn.Parameter(torch.randn(sizes.embedding) / sqrt(sizes.embedding))
            self.head = nn.Linear(sizes.embedding, outputs)


class FusionNet(nn.Module):
    """The network.

    Attributes:
        inputs: The modalities, in order.
        outputs: C.
    """

    def __init__(self, inputs: Sequence[Input], outputs: int, sizes: Sizes, fusion: str) -> None:
        """Build it, with first weights from torch's current seed.

        Raises:
            InputError: There is no such fusion, or a name of a modality cannot be one of a part.
        """
        super().__init__()
        if fusion not in {LATE, MEAN, ATTENTION}:
            raise InputError(f"There is no fusion {fusion!r}; state {LATE}, {MEAN} or {ATTENTION}.")
        if odd := [of.name for of in inputs if "." in of.name or not of.name]:
            raise InputError(f"The name of a modality has no dot, as {odd[0]!r} has; rename it.")
        self.inputs, self.outputs, self.fusion = tuple(inputs), outputs, fusion
        self._needs_two = sizes.norm == BATCH
        self.modality = nn.ModuleDict({of.name: ModalityPart(of, outputs, sizes, fusion) for of in inputs})
        self.shared = SharedPart(outputs, sizes, fusion)

    def forward(self, values: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Outputs (b, C).

        Args:
            values: (b, *sample) by modality; one that no patient of the batch has may be left out.
            present: (b, M) who has what; everybody has something.
        """
        return self.fuse(*self.embed(values, present))

    def embed(self, values: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """What each present modality says, before they are weighed.

        Returns:
            (b, M, K) contributions, 0 where absent, and (b, M) logits of their weights, -inf where absent. K is the
            embedding's length with attention, else C.
        """
        said, logits = [], []
        for column, of in enumerate(self.inputs):
            rows = torch.nonzero(present[:, column]).flatten()
            if self.training and self._needs_two and len(rows) < 2:
                rows = rows[:0]  # one patient has no batch statistics
            part = self.modality[of.name]
            width = self.shared.query.shape[0] if self.fusion == ATTENTION else self.outputs
            contribution = torch.zeros(len(present), width)
            logit = torch.full((len(present),), -torch.inf)
            if len(rows):
                found, score = self._say(part, values[of.name][rows])
                contribution = contribution.index_copy(0, rows, found)
                logit = logit.index_copy(0, rows, score)
            said.append(contribution)
            logits.append(logit)
        return torch.stack(said, dim=1), torch.stack(logits, dim=1)

    def fuse(self, said: Tensor, logits: Tensor, keep: Tensor | None = None) -> Tensor:
        """Outputs (b, C) from what `embed` gave; `keep` (M,) leaves modalities out.

        Who is left without any gets the offset alone.
        """
        a = self.weights(logits, keep)
        mixed = (a[:, :, None] * said).sum(dim=1)
        return self.shared.head(mixed) if self.fusion == ATTENTION else mixed + self.shared.bias

    def weights(self, logits: Tensor, keep: Tensor | None = None) -> Tensor:
        """(b, M) how much each modality counts for each patient: 0 where it is absent, else above; rows add up to 1."""
        if keep is not None:
            logits = logits.masked_fill(~keep, -torch.inf)
        anything = torch.isfinite(logits).any(dim=1, keepdim=True)
        # a row of -inf alone would be NaN, and so would its gradient
        return torch.softmax(torch.where(anything, logits, torch.zeros_like(logits)), dim=1) * anything

    def _say(self, part: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
        embedding = part.encoder(values)
        if self.fusion != ATTENTION:
            weight = part.weight if self.fusion == LATE else torch.zeros(1)
            return part.head(embedding), weight.expand(len(values))
        key = part.key(embedding)
        return part.value(embedding), key @ self.shared.query / sqrt(key.shape[1])


def drop_modalities(present: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """(b, M) what is left if each present modality is hidden with this chance; one of each patient's always stays.

    The one that stays is drawn as well, with equal chances, so that none is favoured.
    """
    drawn = torch.rand(present.shape, generator=generator)
    kept = present & (torch.rand(present.shape, generator=generator) >= rate)
    spared = torch.zeros_like(present)
    spared[torch.arange(len(present)), drawn.masked_fill(~present, -1.0).argmax(dim=1)] = True
    return torch.where(kept.any(dim=1, keepdim=True), kept, spared & present)
