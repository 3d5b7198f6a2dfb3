"""Random changes of a batch of sequences of features (log-mels), each recording by its own draw.

They work on standardised features (mean 0, SD 1 in every band), so strengths are in standard deviations and what is
masked becomes the mean. All draws come from the generator given, and nothing outside of a recording's own rows is read
or written: padding stays as it is. Every strength of 0 leaves a batch as it is.

Sources: masks and time warp: SpecAugment, Park et al. 2019, arXiv 1904.08779; mixup: Zhang et al. 2018,
arXiv 1710.09412; shifted bands: vocal tract length perturbation, Jaitly and Hinton 2013, in its simplest form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class SpeechAugmentation:
    """How strong each change is.

    Parameters
    ----------
    frequency_masks, frequency_width : so many masks, each of up to so many bands; none where there is one band alone.
    time_masks, time_width : so many masks, each of up to so many steps, and of at most `time_share` of the recording.
    time_share : 0 to 1.
    time_warp : a random moment moves by up to so many steps, what is before and after it stretched to fit.
    band_shift : all bands move up or down by up to so many bands (a fraction interpolates), as with another voice.
    time_shift : the recording moves by up to so many steps; what leaves is lost, what enters is the mean.
    gain : a constant of up to so much is added to a whole recording (louder or softer).
    noise : SD of the noise that is added to every value; each recording draws its own, up to this.

    Raises
    ------
    ValueError
        A value is not allowed.
    """

    frequency_masks: int = 0
    frequency_width: int = 0
    time_masks: int = 0
    time_width: int = 0
    time_share: float = 0.3
    time_warp: int = 0
    band_shift: float = 0.0
    time_shift: int = 0
    gain: float = 0.0
    noise: float = 0.0

    def __post_init__(self):
        for field in fields(self):
            value, whole = getattr(self, field.name), field.type == "int"
            number = type(value) is int or (not whole and isinstance(value, float))
            highest = 1 if field.name == "time_share" else math.inf
            if not number or not 0 <= value <= highest or math.isinf(value):
                kind = "a whole number" if whole else "a number"
                limit = " up to 1" if highest == 1 else ""
                raise ValueError(f"augmentation: {field.name} = {value!r} received, {kind} >= 0{limit} is allowed")


def augment(batch: Tensor, length: Tensor, generator: Generator, *, how: SpeechAugmentation) -> Tensor:
    """A changed copy of `batch`.

    Parameters
    ----------
    batch : float [B, T, F], standardised; rows from a recording's length on are padding.
    length : int64 [B], 1 to T.
    generator : of the batch's device.

    Returns
    -------
    float [B, T, F]; padding unchanged.
    """
    x = batch
    if how.time_warp:
        x = time_warp(x, length, generator, steps=how.time_warp)
    if how.time_shift:
        x = time_shift(x, length, generator, steps=how.time_shift)
    if how.band_shift:
        x = band_shift(x, generator, bands=how.band_shift)
    if how.gain:
        x = x + how.gain * (2 * _draw(len(x), 1, 1, like=x, generator=generator) - 1)
    if how.noise:
        spread = how.noise * _draw(len(x), 1, 1, like=x, generator=generator)
        x = x + spread * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    masked = masks(x, length, generator, how=how)
    x = x if masked is None else x.masked_fill(masked, 0)
    return torch.where(inside(length, x.shape[1])[:, :, None], x, batch)


def inside(length: Tensor, n_steps: int) -> Tensor:
    """Which steps of a padded batch are a recording's own, bool [B, n_steps]."""
    return torch.arange(n_steps, device=length.device) < length[:, None]


def masks(batch: Tensor, length: Tensor, generator: Generator, *, how: SpeechAugmentation) -> Tensor | None:
    """What SpecAugment hides, bool [B, T, F]; None where it hides nothing."""
    n, n_steps, n_bands = batch.shape
    hidden = None
    widest = torch.minimum(torch.full_like(length, how.time_width), (how.time_share * length).long())
    for number, widths, extent, axis in (
        (how.frequency_masks * (n_bands > 1), torch.full_like(length, min(how.frequency_width, n_bands)), n_bands, 2),
        (how.time_masks, widest, length, 1),
    ):
        places = torch.arange(batch.shape[axis], device=batch.device)
        for _ in range(number if widths.any() else 0):
            width = (_draw(n, like=batch, generator=generator) * (widths + 1)).long().clamp(max=widths)
            first = (_draw(n, like=batch, generator=generator) * (extent - width + 1)).long()
            stripe = (places >= first[:, None]) & (places < (first + width)[:, None])
            stripe = stripe[:, None, :] if axis == 2 else stripe[:, :, None]
            hidden = stripe if hidden is None else hidden | stripe
    return hidden if hidden is None else hidden.expand(n, n_steps, n_bands)


def time_warp(batch: Tensor, length: Tensor, generator: Generator, *, steps: int) -> Tensor:
    """Move one moment of each recording by up to `steps` (and at most a quarter of it); ends stay where they are."""
    last = (length - 1).to(batch.dtype)
    reach = torch.minimum(torch.full_like(last, float(steps)), last / 4)
    moment = last / 2 + (2 * _draw(len(batch), like=batch, generator=generator) - 1) * (last / 2 - reach).clamp(min=0)
    moved = moment + (2 * _draw(len(batch), like=batch, generator=generator) - 1) * reach
    moment, moved, last = moment[:, None], moved.clamp(min=0)[:, None], last[:, None]
    at = torch.arange(batch.shape[1], device=batch.device, dtype=batch.dtype)
    before = at * moment / moved.clamp(min=1e-3)
    after = moment + (at - moved) * (last - moment) / (last - moved).clamp(min=1e-3)
    return _read(batch, torch.where(at < moved, before, after).clamp(min=0).minimum(last), axis=1)


def time_shift(batch: Tensor, length: Tensor, generator: Generator, *, steps: int) -> Tensor:
    """Move each recording by -`steps` to `steps` (less than its length); the mean enters where it was."""
    reach = torch.minimum(torch.full_like(length, steps), length - 1)
    by = (_draw(len(batch), like=batch, generator=generator) * (2 * reach + 1)).long().clamp(max=2 * reach) - reach
    source = torch.arange(batch.shape[1], device=batch.device) - by[:, None]
    there = (source >= 0) & (source < length[:, None])
    index = source.clamp(min=0, max=batch.shape[1] - 1)[:, :, None].expand_as(batch)
    return batch.gather(1, index) * there[:, :, None]


def band_shift(batch: Tensor, generator: Generator, *, bands: float) -> Tensor:
    """Move all bands of each recording by up to `bands` up or down; the outermost band is repeated."""
    by = (2 * _draw(len(batch), 1, like=batch, generator=generator) - 1) * bands
    at = torch.arange(batch.shape[2], device=batch.device, dtype=batch.dtype) - by
    return _read(batch, at.clamp(min=0, max=batch.shape[2] - 1), axis=2)


def mixup(batch: Tensor, target: Tensor, generator: Generator, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Each recording and its target mixed with another's of the batch, by a share that each draws from Beta(a, a).

    Parameters
    ----------
    batch : float [B, T, F], without padding.
    target : float [B, C].
    alpha : of the Beta distribution; 0 for none.
    """
    if not alpha:
        return batch, target
    # Beta as the share of two gamma draws; torch's own Beta takes no generator
    drawn = torch._standard_gamma(torch.full((2, len(batch)), float(alpha), device=batch.device), generator=generator)
    share = (drawn[0] / drawn.sum(0).clamp(min=1e-30)).to(batch.dtype)
    share = torch.maximum(share, 1 - share)  # the first stays the larger part
    other = torch.randperm(len(batch), generator=generator, device=batch.device)
    mixed = batch.lerp(batch[other], 1 - share[:, None, None])
    return mixed, target.lerp(target[other], 1 - share[:, None])


def _draw(*shape: int, like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)


def _read(batch: Tensor, at: Tensor, *, axis: int) -> Tensor:
    """`batch` [B, T, F] read at fractional places `at` [B, T or F] of an axis, by linear interpolation."""
    low = at.floor()
    high = (low + 1).clamp(max=batch.shape[axis] - 1)
    shape = (len(batch), -1, 1) if axis == 1 else (len(batch), 1, -1)
    share = (at - low).view(shape)
    first, second = (batch.gather(axis, index.long().view(shape).expand_as(batch)) for index in (low, high))
    return first.lerp(second, share)
