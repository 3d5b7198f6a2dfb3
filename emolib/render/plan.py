"""Which clips and stills an embedded corpus has: pure tables, from parameters and a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import labels
from emolib.render.identity import generator

# Shares of the stills' true classes: unbalanced in AffectNet's order, milder than AffectNet's own 36 to 1, so that a
# small set still has some of each.
STILL_SHARES = {
    **{"neutral": 0.25, "happy": 0.30, "sad": 0.12, "surprise": 0.10, "fear": 0.06, "disgust": 0.06, "anger": 0.11}
}
_STILLS_A_SUBJECT = 12
_VALIDATION_SHARE = 0.2
_RAVDESS = labels.SPACES["ravdess8"]
_AFFECTNET = labels.SPACES["affectnet7"]


def video_table(
    *,
    n_subjects: int,
    emotions: tuple[str, ...],
    intensities: tuple[int, ...],
    statements: tuple[int, ...],
    repetitions: tuple[int, ...],
    duration_s: float,
    seed: int,
) -> pd.DataFrame:
    """A row a clip: source, video, subject, label, emotion, intensity, statement, repetition, female, length_s.

    Neutral has normal intensity only, as in RAVDESS, whichever `intensities` are asked for.
    """
    rows = []
    for actor in range(1, n_subjects + 1):
        for emotion in emotions:
            label = _RAVDESS.index(emotion)
            for intensity in (1,) if emotion == "neutral" else intensities:
                for statement in statements:
                    for repetition in repetitions:
                        video = f"01-01-{label + 1:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
                        rows.append(
                            {
                                "source": f"Actor_{actor:02d}/{video}.mp4",
                                "video": video,
                                "subject": f"{actor:02d}",
                                "label": label,
                                "emotion": emotion,
                                "intensity": intensity,
                                "statement": statement,
                                "repetition": repetition,
                                "female": actor % 2 == 0,
                                "length_s": duration_s * generator(seed, "length", video).uniform(0.88, 1.12),
                            }
                        )
    return pd.DataFrame(rows)


def still_table(*, n_stills: int, label_noise: float, seed: int) -> pd.DataFrame:
    """A row a still: path, subject, label (given), true_label (affectnet7), label_is_wrong, intensity, split, female.

    Exactly ``round(label_noise * n_stills)`` given labels are wrong, each any other class with equal chance.
    Subjects are other people than those of the clips, and no subject is in both splits.
    """
    random = generator(seed, "stills")
    true = random.permutation(np.repeat(np.arange(len(_AFFECTNET)), class_counts(n_stills)))
    wrong = np.zeros(n_stills, dtype=bool)
    wrong[random.choice(n_stills, round(label_noise * n_stills), replace=False)] = True
    given = np.where(wrong, (true + random.integers(1, len(_AFFECTNET), n_stills)) % len(_AFFECTNET), true)
    n_subjects = max(5, n_stills // _STILLS_A_SUBJECT)
    subject = random.integers(0, n_subjects, n_stills)
    neutral = true == _AFFECTNET.index("neutral")
    return pd.DataFrame(
        {
            "path": [f"stills/{index:06d}.jpg" for index in range(n_stills)],
            "subject": [f"S{number:04d}" for number in subject],
            "label": given,
            "true_label": true,
            "label_is_wrong": wrong,
            "intensity": np.where(neutral, 1.0, random.uniform(0.3, 1.0, n_stills)).round(4),
            "split": np.where(subject < round(_VALIDATION_SHARE * n_subjects), "validation", "train"),
            "female": subject % 2 == 1,
        }
    )


def class_counts(n_stills: int) -> np.ndarray:
    """True size of each class of affectnet7: `STILL_SHARES` of `n_stills`, the largest remainders rounded up."""
    exact = np.array([STILL_SHARES[name] for name in _AFFECTNET.classes]) * n_stills
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n_stills - counts.sum()]] += 1
    return counts
