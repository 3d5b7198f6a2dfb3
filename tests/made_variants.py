"""Variants with known answers, for tests of variants, comparison and selection."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import voting
from emolib.variants import Variant

SUBJECTS, VIDEOS, FOLDS = 16, 12, 4
N = SUBJECTS * VIDEOS
LEARNED = {"protocol": "nested", "validation_subjects_share": 0.25, "epochs": 8, "start_from": "pretraining/main"}


def videos() -> pd.DataFrame:
    """16 subjects with 12 videos each, 4 classes; 4 subjects a fold."""
    index = np.arange(N)
    return pd.DataFrame(
        {
            "video": [f"v{k:03d}" for k in index],
            "subject": [f"s{k // VIDEOS:02d}" for k in index],
            "label": index % 4,
            "fold": index // VIDEOS % FOLDS,
        }
    )


def answered(table: pd.DataFrame, right: np.ndarray) -> pd.DataFrame:
    """Votes that are right where `right` says so; a wrong one names the next class."""
    answer = np.where(right, table["label"], (table["label"] + 1) % 4)
    return table.assign(**{f"predicted_{method}": answer for method in voting.METHODS})


def first_videos(right: int) -> np.ndarray:
    """The first `right` of every subject's 12 videos: bool [N]."""
    return np.arange(N) % VIDEOS < right


def variant(
    name, right=6, *, filter="none", options=None, matched_to="", kept=0.5, seeds=(2020,), validation=None, **learned
) -> Variant:
    """A variant that answers the first `right` videos of every subject right (a number, or one a seed).

    `validation`: right answers of 12 for each fold, the same for all seeds, or a list of such, one a seed.
    """
    rights = [right] * len(seeds) if np.ndim(right) == 0 else list(right)
    validation = [[6] * FOLDS] * len(seeds) if validation is None else validation
    by_seed = validation if np.ndim(validation) == 2 else [validation] * len(seeds)
    params = LEARNED | {"filter": filter, "filter_options": options or {}, "matched_to": matched_to}
    validated = videos().assign(fold=lambda t: (t["fold"] + 1) % FOLDS)  # the next fold's subjects validate
    of_fold, position = validated["fold"].to_numpy(), np.arange(N) % VIDEOS
    frames = videos().loc[np.repeat(np.arange(N), 2), ["video", "subject", "label"]].reset_index(drop=True)
    votes = [answered(videos(), first_videos(one)) for one in rights]
    account = pd.DataFrame({"fold": range(FOLDS), "label": 0, "frames": 100, "kept": round(100 * kept)})
    return Variant(
        name=name,
        address=f"frame_filtering/{name}",
        params=params | learned,
        seeds=tuple(seeds),
        votes=tuple(votes),
        validation_votes=tuple(answered(validated, position < np.array(one)[of_fold]) for one in by_seed),
        accounts=(account,) * len(seeds),
        frames=frames.assign(sample=np.arange(2 * N)),
        frame_answers=np.stack([np.repeat(one["predicted_auc"], 2) for one in votes]).astype(np.int16),
        out_of_sample=True,
        quality={},
    )


def percentile(name, q, right, **options) -> Variant:
    """A variant of filter percentile."""
    return variant(name, right, filter="percentile", options={"percentile": q}, **{"kept": 1 - q / 100, **options})


def control(of, right, **options) -> Variant:
    """The random control of the variant called `of`."""
    return variant(f"random_{of}", right, filter="random", matched_to=f"frame_filtering/{of}", **options)


def named(*variants: Variant) -> dict[str, Variant]:
    """As `variants.collect` returns them."""
    return {one.name: one for one in variants}
