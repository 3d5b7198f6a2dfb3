"""Which frames each fold's model learns from: judged, filtered, listed. The pure middle of notebooks 04 and 05.

A filter is applied once a fold, to the fold's *training* rows alone: neither a quantile nor a fitted normal ever reads
a label of the people who validate or test the model. What is trained is tested on *all* frames of the fold's test
subjects in which a face was found, whatever the filter kept (`fold_results`); `filtered_test` is the variant.

| term | meaning |
|---|---|
| selections | one `filters.FrameSelection` a fold, aligned with the rows ``fold.train`` |
| kept | bool arrays, one a fold, aligned the same way: what another run's filter kept |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib import evaluation, filters, training
from emolib.folds import Fold
from emolib.judged import Judged, options_of


def select_folds(
    name: str,
    parts: Sequence[Fold],
    frames: pd.DataFrame,
    judged: Judged,
    *,
    options: Mapping,
    seed: int,
    within: Sequence[np.ndarray] | None = None,
    matched_to: Sequence[np.ndarray] | None = None,
    step: int = 1,
) -> list[filters.FrameSelection]:
    """Apply filter `name` to every fold's training rows.

    Parameters
    ----------
    options : literal options of the filter; a filter that draws gets ``seed`` (plus the fold's number) where they have
        none, and `mvn` the fold's normals.
    within : kept, of the run whose frames alone are candidates here. The account still counts all frames with a face.
    matched_to : kept, of the run whose number of frames a video the filter `random` is to copy. It copies those on the
        training grid (every `step`-th frame) and those off it apart, so that as many are learned from, too.
    step : as for `members`.

    Raises
    ------
    ValueError
        Frames to be matched are no candidates; else as `filters.select` (which also raises the TypeError).
    """
    selections = []
    for k, part in enumerate(parts):
        table = frames.iloc[part.train]
        face = table["face_ok"].to_numpy() & (True if within is None else within[k])
        given = dict(options) | _objects(name, options, judged, k, seed=seed + part.fold)
        if matched_to is not None:
            selection = _matched(name, table, face, matched_to[k], step=step, options=given)
        else:
            values = None if judged.train is None else judged.train[k]
            selection = filters.select(name, table.assign(face_ok=face), values, **given)
        if within is not None or matched_to is not None:
            selection = filters.FrameSelection(selection.keep, selection.score, _recounted(table, selection))
        selections.append(selection)
    return selections


def _objects(name: str, options: Mapping, judged: Judged, k: int, *, seed: int) -> dict:
    """Options that YAML cannot say."""
    given = {"seed": seed} if "seed" in options_of(name) - set(options) else {}
    return given | ({"normals": judged.normals[k]} if judged.normals and "normals" in options_of(name) else {})


def _matched(
    name: str, table: pd.DataFrame, face: np.ndarray, kept: np.ndarray, *, step: int, options: Mapping
) -> filters.FrameSelection:
    grid = table["frame"].to_numpy() % step == 0
    keep, score = np.zeros(len(table), dtype=bool), np.full(len(table), np.nan, dtype=np.float32)
    for stratum in (face & grid, face & ~grid):
        if stratum.any():
            numbers = pd.Series(kept[stratum]).groupby(table["video"].to_numpy()[stratum]).sum().to_dict()
            drawn = filters.select(name, table.assign(face_ok=stratum), None, **options, n_per_video=numbers)
            keep |= drawn.keep
            score[stratum] = drawn.score[stratum]
    if keep.sum() != kept.sum():
        raise ValueError(
            f"matched_to: {kept.sum()} frames are to be matched, only {(kept & face).sum()} of them are candidates"
        )
    return filters.FrameSelection(keep, score, drawn.account)


def _recounted(table: pd.DataFrame, selection: filters.FrameSelection) -> pd.DataFrame:
    """The account over all frames with a face, where the filter saw only some of them."""
    seen = table["face_ok"].to_numpy()
    video, label = pd.factorize(table["video"].to_numpy()[seen])[0], table["label"].to_numpy()[seen]
    threshold = selection.account.set_index("label")["threshold"].reindex(label).to_numpy()
    return filters.account(video, label, filters.Judgement(selection.keep[seen], selection.score[seen], threshold))


def frame_list(
    parts: Sequence[Fold], frames: pd.DataFrame, selections: Sequence[filters.FrameSelection]
) -> pd.DataFrame:
    """The selections as the table that other stages read: ``sample, fold, keep, score``, a fold's training rows."""
    sample = frames["sample"].to_numpy()
    return pd.concat(
        [
            pd.DataFrame({"sample": sample[part.train], "fold": part.fold, "keep": one.keep, "score": one.score})
            for part, one in zip(parts, selections, strict=True)
        ],
        ignore_index=True,
    )


def account(parts: Sequence[Fold], selections: Sequence[filters.FrameSelection]) -> pd.DataFrame:
    """The filter's accounts of all folds, one below the other: ``fold`` and the columns of `FrameSelection.account`."""
    rows = [
        one.account.assign(fold=part.fold)[["fold", *one.account.columns]]
        for part, one in zip(parts, selections, strict=True)
    ]
    return pd.concat(rows, ignore_index=True)


def pooled(account: pd.DataFrame) -> pd.DataFrame:
    """An account of all folds as one row a class: sums over folds (a frame counts in every fold that trains on it)."""
    columns = {name: "sum" for name in ("frames", "kept", "videos", "videos_emptied")}
    table = account.groupby("label").agg(columns | {"threshold": "median"})
    table.insert(2, "kept_share", table["kept"] / table["frames"])
    return table.reset_index()


def quality_against_truth(
    parts: Sequence[Fold],
    frames: pd.DataFrame,
    selections: Sequence[filters.FrameSelection],
    *,
    shows_label_at: float,
) -> pd.DataFrame:
    """How right the filter is where the corpus knows the ``true_intensity``: one row, or none where it does not.

    A frame shows its label where its true intensity is at least `shows_label_at` (0..1). The training rows of all
    folds count, where there is a face. No AUC where the filter did not score every frame.
    """
    if "true_intensity" not in frames:
        return pd.DataFrame()
    rows = np.concatenate([part.train for part in parts])
    face = frames["face_ok"].to_numpy()[rows]
    shows = frames["true_intensity"].to_numpy()[rows][face] >= shows_label_at
    keep, score = (np.concatenate([getattr(one, what) for one in selections])[face] for what in ("keep", "score"))
    return pd.DataFrame([evaluation.filter_quality(keep, None if np.isnan(score).any() else score, shows)])


def candidates(frames: pd.DataFrame, step: int = 1) -> np.ndarray:
    """Frames with a face, every `step`-th of a video: bool [len(frames)]."""
    return frames["face_ok"].to_numpy() & (frames["frame"].to_numpy() % step == 0)


def members(
    parts: Sequence[Fold],
    frames: pd.DataFrame,
    *,
    kept: Sequence[np.ndarray],
    step: int = 1,
    seed: int,
    initial: Sequence[dict] | None = None,
) -> list[training.Member]:
    """One member of the training stack a fold.

    Parameters
    ----------
    kept : the filter's choice of each fold's training rows; validation has all frames.
    step : every `step`-th frame of a video is a candidate for training and validation.
    initial : weights that each fold starts from, or None to start from scratch.
    """
    candidate = candidates(frames, step)
    return [
        training.Member(
            name=f"fold{part.fold}",
            train=part.train[candidate[part.train] & kept[k]],
            validation=part.validation[candidate[part.validation]],
            seed=seed + part.fold,
            initial=None if initial is None else initial[k],
        )
        for k, part in enumerate(parts)
    ]


def fold_table(parts: Sequence[Fold], stack: Sequence[training.Member], frames: pd.DataFrame) -> pd.DataFrame:
    """Who is in which part of each fold, and how many frames a model learns from."""

    def subjects(rows):
        return " ".join(sorted(frames["subject"].iloc[rows].unique()))

    return pd.DataFrame(
        {
            "fold": [part.fold for part in parts],
            "training subjects": [subjects(part.train) for part in parts],
            "validation subjects": [subjects(part.validation) for part in parts],
            "test subjects": [subjects(part.test) for part in parts],
            "training frames": [len(member.train) for member in stack],
            "validation frames": [len(member.validation) for member in stack],
            "test frames": [int(frames["face_ok"].iloc[part.test].sum()) for part in parts],
        }
    )


def leaks(parts: Sequence[Fold], stack: Sequence[training.Member], frames: pd.DataFrame) -> pd.DataFrame:
    """Subjects of a fold's test who were also learned from or chosen on: ``fold, subject, learned, chosen_on``."""
    rows = []
    for part, member in zip(parts, stack, strict=True):
        learned, chosen, tested = (set(frames["subject"].iloc[r]) for r in (member.train, member.validation, part.test))
        rows += [(part.fold, one, one in learned, one in chosen) for one in sorted(tested & (learned | chosen))]
    return pd.DataFrame(rows, columns=["fold", "subject", "learned", "chosen_on"])


def filtered_test(
    name: str, parts: Sequence[Fold], frames: pd.DataFrame, judged: Judged, *, options: Mapping, seed: int
) -> np.ndarray:
    """Samples of the test frames that the filter keeps *without their label*: int64 [n] (system A's test variants).

    Each video is taken for the class that `filters.assumed_labels` finds; a filter with the option ``largest`` judges
    the largest posterior instead. A video that would lose every frame keeps its best one, so that it has an answer.
    """
    options = dict(options) | ({"largest": True} if "largest" in options_of(name) else {})
    kept = []
    for k, part in enumerate(parts):
        values = None if judged.test is None else judged.test[k]
        known = frames["face_ok"].to_numpy()[part.test]
        if judged.reads == "action_units":
            known = known & ~np.isnan(values).any(axis=1)
        table, values = frames.iloc[part.test[known]], None if values is None else values[known]
        assumed = 0  # no filter that reads nothing looks at it
        if judged.reads != "nothing":
            own = judged.normals[k] if judged.normals else None
            assumed = filters.assumed_labels(table, values, reads=judged.reads, normals=own)
        given = options | _objects(name, options, judged, k, seed=seed + part.fold)
        selection = filters.select(name, table.assign(label=assumed), values, **given)
        best = filters.best_of_emptied(pd.factorize(table["video"])[0], selection.keep, selection.score)
        kept.append(table["sample"].to_numpy()[selection.keep | best])
    return np.concatenate(kept)
