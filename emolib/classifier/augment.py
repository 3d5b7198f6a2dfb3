"""Random changes of a batch of faces, each picture by its own draw, without changing its expression.

A transform of `torchvision.transforms.v2` draws once a call, so a whole batch would be turned by one angle. Here

- geometry (mirror, shift, rotation, size, aspect) is one affine transform a picture, all of them in one `grid_sample`,
  which gives any size of output at no further cost;
- brightness, contrast and erasing are a few numbers a picture, applied to all at once;
- blur and noise are v2's own, a draw for every `CHUNK` pictures; mixup and CutMix are v2's, a draw a batch.

All draws come from a seed, so a batch can be made again; torch's generators are left as they were.

Sources: random erasing: Zhong et al. 2020, arXiv 1708.04896; mixup: Zhang et al. 2018, arXiv 1710.09412; CutMix: Yun et
al. 2019, arXiv 1905.04899. Mild geometry with stronger blur and noise is system D's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

CHUNK = 16  # pictures that share v2's draw of a blur and a noise
BLUR_KERNEL_PX = 5
MOST_ROTATION_DEG = 10.0  # more changes the expression itself (system D)
_LEAST_ERASED = 0.02  # share of the area, Zhong et al.
_ERASED_ASPECT = 3.0


@dataclass(frozen=True)
class Augmentation:
    """How strong each change is; the defaults suit 48x48 faces, `none` leaves every picture as it is.

    Parameters
    ----------
    flip : probability of mirroring.
    shift : largest shift along each axis, a share of the picture's side (0 to 0.5).
    rotation_deg : largest angle either way (0 to 10 degrees).
    crop_area : smallest share of the picture that is shown, enlarged (1: all of it).
    wide_area : largest area that is shown, as a share of the picture (1: all of it; more: its reflection around it).
        Without it training sees larger faces than the test: with crop_area 0.75 a view enlarged by 1.06 to 1.12 was
        answered better than the picture itself (FER-2013: 0.659 against 0.649).
    aspect : largest ratio by which width and height may differ after that (1: none).
    erase : probability that a rectangle is filled with one random grey level.
    erase_area : largest share of the picture that it takes.
    brightness, contrast : largest relative change of each (0 to 1).
    blur : probability, a chunk, of a Gaussian blur of up to `blur_sigma_px`.
    noise : probability, a chunk, of Gaussian noise of standard deviation `noise_sd` (grey levels are 0 to 1).

    Raises
    ------
    ValueError
        A value is not allowed.
    """

    flip: float = 0.5
    shift: float = 0.06
    rotation_deg: float = 10.0
    crop_area: float = 0.8
    wide_area: float = 1.2
    aspect: float = 1.1
    erase: float = 0.5
    erase_area: float = 0.2
    brightness: float = 0.2
    contrast: float = 0.2
    blur: float = 0.0
    blur_sigma_px: float = 1.0
    noise: float = 0.0
    noise_sd: float = 0.05

    def __post_init__(self):
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _RANGES.get(field.name, (0, 1))
            number = isinstance(value, float | int) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ValueError(f"augmentation: {field.name} = {value!r} received, {low} to {high} is allowed")

    @classmethod
    def none(cls) -> Augmentation:
        """The one that changes nothing."""
        off = dict.fromkeys(("flip", "shift", "rotation_deg", "erase", "brightness", "contrast", "blur", "noise"), 0.0)
        return cls(**off, crop_area=1.0, wide_area=1.0, aspect=1.0)


_RANGES = {
    "shift": (0, 0.5),
    "rotation_deg": (0, MOST_ROTATION_DEG),
    "crop_area": (0.25, 1),
    "wide_area": (1, 2),
    "aspect": (1, 2),
    "erase_area": (_LEAST_ERASED, 0.5),
    "blur_sigma_px": (0.1, 3),
}


def augment(images: Tensor, how: Augmentation, *, seed: int, size_px: int = 48, extent: float = 1.0) -> Tensor:
    """A changed copy of `images`, each by its own draw.

    Parameters
    ----------
    images : float [B, 1, H, W] in [0, 1], on any device.
    seed : decides all draws.
    size_px : height and width of the output.
    extent : share of the picture's side that it shows, before the changes, at a place of its own draw.

    Returns
    -------
    float [B, 1, size_px, size_px] in [0, 1].
    """
    with drawing(seed, images.device):
        n, device = len(images), images.device
        theta = affine(n, how, extent=extent).to(device)
        grid = F.affine_grid(theta, [n, 1, size_px, size_px], align_corners=False)
        x = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        x = (x * _factor(n, how.brightness).to(device)).clamp_(0, 1)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = ((x - mean) * _factor(n, how.contrast).to(device) + mean).clamp_(0, 1)
        x = torch.cat([photographic(how)(chunk) for chunk in x.split(CHUNK)]) if how.blur or how.noise else x
        inside, level = rectangles(n, how, size_px=size_px)
        return torch.where(inside.to(device), level.to(device), x)


def affine(n: int, how: Augmentation, *, extent: float = 1.0) -> Tensor:
    """Where each picture is read, float [n, 2, 3]: output (x, y, 1) in [-1, 1] to the picture's (x, y)."""
    area = how.crop_area + torch.rand(n) * (how.wide_area - how.crop_area)
    ratio = torch.exp((torch.rand(n) * 2 - 1) * math.log(how.aspect))
    side = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1).clamp_(max=math.sqrt(how.wide_area)) * extent
    corner = (torch.rand(n, 2) * 2 - 1) * (1 - side).clamp_(min=0)  # a crop lies inside of the picture
    centre = corner + (torch.rand(n, 2) * 2 - 1) * 2 * how.shift
    angle = (torch.rand(n) * 2 - 1) * math.radians(how.rotation_deg)
    mirror = torch.where(torch.rand(n) < how.flip, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    x, y = side[:, 0], side[:, 1]
    rows = [torch.stack([x * cos * mirror, -x * sin, centre[:, 0]], 1)]
    rows += [torch.stack([y * sin * mirror, y * cos, centre[:, 1]], 1)]
    return torch.stack(rows, 1)


def rectangles(n: int, how: Augmentation, *, size_px: int) -> tuple[Tensor, Tensor]:
    """What is erased, bool [n, 1, size_px, size_px], and by which grey level, float [n, 1, 1, 1]."""
    area = _LEAST_ERASED + torch.rand(n) * (how.erase_area - _LEAST_ERASED)
    ratio = torch.exp((torch.rand(n) * 2 - 1) * math.log(_ERASED_ASPECT))
    width, height = (area * ratio).sqrt().clamp_(max=1), (area / ratio).sqrt().clamp_(max=1)
    width = width * (torch.rand(n) < how.erase)  # no width, nothing erased
    left, top = torch.rand(n) * (1 - width), torch.rand(n) * (1 - height)
    centre = (torch.arange(size_px) + 0.5) / size_px
    in_x = (centre >= left[:, None]) & (centre < (left + width)[:, None])
    in_y = (centre >= top[:, None]) & (centre < (top + height)[:, None])
    return (in_y[:, :, None] & in_x[:, None, :])[:, None], torch.rand(n, 1, 1, 1)


def photographic(how: Augmentation) -> v2.Transform:
    """v2's blur and noise, one draw a call."""
    blur = v2.GaussianBlur(BLUR_KERNEL_PX, sigma=(0.1, max(0.1, how.blur_sigma_px)))
    steps = [v2.RandomApply([blur], p=how.blur), v2.RandomApply([v2.GaussianNoise(sigma=how.noise_sd)], p=how.noise)]
    return v2.Compose(steps)


def mix(
    images: Tensor, target: Tensor, *, mixup_alpha: float, cutmix_alpha: float, share: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix of each picture and its target with another's of the batch, in a `share` of the batches.

    Parameters
    ----------
    images : float [B, 1, H, W].
    target : float [B, C]; columns are mixed alike, whatever they mean.
    mixup_alpha, cutmix_alpha : of the Beta distribution of the mixing share; 0 for none. With both, each has its turn
        by chance.
    share : probability that this batch is mixed.
    seed : decides the draws.
    """
    kinds = [make(alpha=alpha) for make, alpha in ((v2.MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha)) if alpha]
    if not kinds or not share:
        return images, target
    with drawing(seed, images.device):
        if torch.rand(()) >= share:
            return images, target
        return kinds[int(torch.randint(len(kinds), ()))](images, target)


def _factor(n: int, strength: float) -> Tensor:
    return 1 + (torch.rand(n, 1, 1, 1) * 2 - 1) * strength


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators (v2 draws from them) set to `seed`, and given back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
