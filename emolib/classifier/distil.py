"""One small network that learns from the answers of several: teachers, their mean answer, and the loss.

Source: Hinton et al. 2015, arXiv 1503.02531.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib.models import build, load_weights

BATCH = 512


def load_teachers(files: Sequence[str | Path], *, classes: Sequence[str]) -> list[nn.Module]:
    """The networks of weight files, ready to answer, on the CPU.

    Raises
    ------
    ValueError
        A teacher's classes are not `classes` in their order, or it needs a guide.
    """
    teachers = []
    for file in files:
        weights = load_weights(file)
        if list(weights.classes) != list(classes):
            raise ValueError(f"{file}: a teacher of {', '.join(weights.classes)}; {', '.join(classes)} are needed")
        with torch.device("meta"):  # no fresh weights, so no draw from the global generator
            teacher = build(weights.model, weights.n_classes, **weights.options)
        if teacher.needs_guide:
            raise ValueError(f"{file}: teacher {weights.model!r} needs a guide; only pictures are shown to teachers")
        teacher.load_state_dict(weights.state, assign=True)
        teachers.append(teacher.eval().requires_grad_(False))
    return teachers


@torch.no_grad()  # no inference_mode: a loss keeps the answer for its backward pass
def answer(teachers: Sequence[nn.Module], images: Tensor, *, temperature: float) -> Tensor:
    """Mean of the teachers' posteriors at `temperature`, float32 [B, C]; images float [B, 1, H, W] in [-1, 1]."""
    return torch.stack([(teacher(images).float() / temperature).softmax(1) for teacher in teachers]).mean(0)


def clean_answers(teachers: Sequence[nn.Module], pictures: Tensor, *, temperature: float) -> Tensor:
    """`answer` for every picture as it is, averaged with its mirror image: uint8 [N, 48, 48] to float32 [N, C]."""
    answers = []
    for batch in pictures.split(BATCH):
        images = batch[:, None].float().mul_(2 / 255).sub_(1)
        both = [answer(teachers, view, temperature=temperature) for view in (images, images.flip(-1))]
        answers.append((both[0] + both[1]) / 2)
    return torch.cat(answers)


def loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Divergence KL(teacher || student at `temperature`), a mean over samples, times temperature squared.

    The square keeps the gradient's size beside that of the labels, whatever the temperature.

    Parameters
    ----------
    logits : float [B, C], the student's.
    teacher : float [B, C], softened by the same temperature.
    """
    student = (logits / temperature).log_softmax(1)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature**2
