"""A saliency that is learned: a small network that draws the landmark mask from the picture alone (notebook 12).

It learns from the pictures in which landmarks were found and draws a guide for all, also where no detector found a
face. No label of an emotion is read.

The network is an encoder and decoder of convolutions with skips (Ronneberger et al. 2015, arXiv:1505.04597) that also
sees where in the crop a pixel lies (Liu et al. 2018, arXiv:1807.03247), since faces lie at about the same place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from emolib.engines.arrays import as_tensor
from emolib.engines.steps import scaled
from emolib.training import pick_device

WIDTHS = (8, 24, 32)  # channels at full, half and quarter resolution
BATCH_OF_PREDICTION = 512
PICTURES_OF_START = 2048  # that say how much of a picture is mask


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network: `state` of its best epoch (from 1), and a row an epoch: epoch, train_loss, validation_loss."""

    state: dict[str, Tensor] = field(repr=False)
    best_epoch: int
    history: pd.DataFrame


class SaliencyNet(nn.Module):
    """Picture float [B, 1, H, W] in [-1, 1] to logits of its mask, float [B, 1, H, W]; H and W multiples of 4."""

    def __init__(self):
        super().__init__()
        full, half, quarter = WIDTHS
        self.at_full = _block(1 + 2, full)
        self.at_half = nn.Sequential(_block(full, half), _block(half, half))
        self.at_quarter = nn.Sequential(_block(half, quarter), _block(quarter, quarter, dilation=2))
        self.to_half = _block(quarter + half, half)
        self.to_full = _block(half + full, full)
        self.mask = nn.Conv2d(full, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        full = self.at_full(torch.cat([image, _places(image)], 1))
        half = self.at_half(F.max_pool2d(full, 2))
        quarter = self.at_quarter(F.max_pool2d(half, 2))
        half = self.to_half(torch.cat([F.interpolate(quarter, scale_factor=2.0), half], 1))
        return self.mask(self.to_full(torch.cat([F.interpolate(half, scale_factor=2.0), full], 1)))


def _block(n_in: int, n_out: int, *, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(n_in, n_out, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def _places(image: Tensor) -> Tensor:
    """x and y of every pixel, -1 to 1: float [B, 2, H, W]."""
    height, width = image.shape[-2:]
    y = torch.linspace(-1, 1, height, device=image.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=image.device).view(1, 1, 1, -1)
    return torch.cat([place.expand(len(image), 1, height, width) for place in (x, y)], 1)


def n_parameters() -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in SaliencyNet().parameters())


def train(
    images: np.ndarray,
    masks: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    *,
    epochs: int,
    patience: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    horizontal_flip: bool = True,
    device: str = "auto",
    progress: bool = True,
) -> Learned:
    """Learn to draw `masks` from `images`: binary cross-entropy a pixel, Adam, one cosine, early stopping.

    Parameters
    ----------
    images, masks : uint8 [N, S, S], S a multiple of 4; a mask may be hard (0, 255) or soft.
    train_rows, validation_rows : int [n], [m]; the epoch with the least loss over the validation rows is kept.
    patience : epochs without a smaller one before it stops.
    seed : of weights, order and mirrors; on the CPU the same seed and number of threads give the same weights.
    device : as for `emolib.training.train_stack`.

    Raises
    ------
    ValueError
        Arrays that do not fit, or no row to learn from or to stop by.
    """
    _check(images, masks)
    if not len(train_rows) or not len(validation_rows) or epochs < 1 or patience < 1:
        raise ValueError(
            f"{len(train_rows)} rows to learn from, {len(validation_rows)} to stop by, {epochs} epochs, patience "
            f"{patience}: at least 1 of each is needed"
        )
    device = pick_device(device)
    pictures, wanted = as_tensor(images).to(device), as_tensor(masks).to(device)
    rows = torch.as_tensor(np.array(train_rows, np.int64), device=device)
    held_out = torch.as_tensor(np.array(validation_rows, np.int64), device=device)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # weights are drawn from the global generator, which is given back
        torch.default_generator.manual_seed(seed)
        network = SaliencyNet().to(device, memory_format=torch.channels_last)
    share = _share(wanted, rows[:PICTURES_OF_START]).mean().clamp(0.01, 0.99)
    network.mask.bias.data.fill_(torch.logit(share))  # it starts from how much of a picture is mask
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    n_steps = epochs * -(-len(rows) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    history, best, state = [], 0, {}
    with tqdm(total=epochs, unit="epoch", desc="learning saliency", disable=not progress) as bar:
        for epoch in range(1, epochs + 1):
            order = rows[torch.randperm(len(rows), generator=generator).to(device)]
            mirror = torch.rand(len(rows), generator=generator).to(device) < (0.5 if horizontal_flip else 0.0)
            train_loss = _train_epoch(network, optimiser, schedule, pictures, wanted, order, mirror, batch_size)
            validation_loss = _loss(network, pictures, wanted, held_out)
            if not np.isfinite(train_loss + validation_loss):
                raise FloatingPointError(f"epoch {epoch}: loss {train_loss} and {validation_loss} on validation")
            history.append((epoch, train_loss, validation_loss))
            bar.update()
            bar.set_postfix_str(f"validation loss {validation_loss:.4f}", refresh=False)
            if not best or validation_loss < history[best - 1][2]:
                best = epoch
                state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            elif epoch - best >= patience:
                break
    return Learned(state, best, pd.DataFrame(history, columns=["epoch", "train_loss", "validation_loss"]))


def _train_epoch(network, optimiser, schedule, pictures, wanted, order, mirror, batch_size: int) -> float:
    network.train()
    total = 0.0
    for rows, flip in zip(order.split(batch_size), mirror.split(batch_size), strict=True):
        image, mask = scaled(pictures, rows), _share(wanted, rows)
        where = flip.view(-1, 1, 1, 1)
        image, mask = torch.where(where, image.flip(-1), image), torch.where(where, mask.flip(-1), mask)
        loss = F.binary_cross_entropy_with_logits(network(image), mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item() * len(rows)
    return total / len(order)


@torch.inference_mode()
def _loss(network: nn.Module, pictures: Tensor, wanted: Tensor, rows: Tensor) -> float:
    network.eval()
    total = 0.0
    for batch in rows.split(BATCH_OF_PREDICTION):
        logits = network(scaled(pictures, batch))
        total += F.binary_cross_entropy_with_logits(logits, _share(wanted, batch)).item() * len(batch)
    return total / len(rows)


@torch.inference_mode()
def predict(images: np.ndarray, state: dict[str, Tensor], *, device: str = "auto") -> np.ndarray:
    """The learned guide of each picture, uint8 [N, S, S]: 255 times the probability that a pixel is of the mask.

    A picture of one grey level (no face was found, so there is no crop) has a black one.
    """
    _check(images, images)
    device = pick_device(device)
    network = SaliencyNet()
    network.load_state_dict(state)
    network = network.eval().to(device, memory_format=torch.channels_last)
    guide = np.zeros(images.shape, np.uint8)
    for first in range(0, len(images), BATCH_OF_PREDICTION):
        batch = np.array(images[first : first + BATCH_OF_PREDICTION])
        probability = network(scaled(as_tensor(batch).to(device), torch.arange(len(batch), device=device))).sigmoid()
        shown = batch.min(axis=(1, 2)) < batch.max(axis=(1, 2))
        drawn = (255 * probability[:, 0]).round().to(torch.uint8).cpu().numpy()
        guide[first : first + len(batch)] = np.where(shown[:, None, None], drawn, 0)
    return guide


def save(path: str | Path, state: dict[str, Tensor]) -> None:
    """Write the weights as a safetensors file."""
    save_file({name: value.contiguous() for name, value in state.items()}, path, metadata={"emolab": "SaliencyNet 1"})


def load(path: str | Path) -> dict[str, Tensor]:
    """Read what `save` wrote; ValueError where the file holds something else."""
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error
    expected = SaliencyNet().state_dict()
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in expected.items()}:
        raise ValueError(f"{path}: these are no weights of a SaliencyNet; it has {', '.join(expected)}")
    return state


def _share(masks: Tensor, rows: Tensor) -> Tensor:
    return masks.index_select(0, rows).unsqueeze(1).float().div_(255)


def _check(images: np.ndarray, masks: np.ndarray) -> None:
    fits = images.ndim == 3 and images.dtype == np.uint8 and not any(side % 4 for side in images.shape[1:])
    if not fits or masks.shape != images.shape or masks.dtype != np.uint8:
        raise ValueError(
            f"images {images.dtype} {images.shape}, masks {masks.dtype} {masks.shape} received; both uint8 [N, S, S], "
            "S a multiple of 4, are needed"
        )
