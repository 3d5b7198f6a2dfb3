"""Finished training runs, read as variants: the repetitions with several seeds are one variant, whatever their number.

Every variant knows its answers for each test video and test frame as arrays [S, N] (S seeds), what else was decided by
its parameters, and with which other variants it can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.runs import Upstream
from emolib.study_file import addresses

__all__ = [
    "OF_FILTER", "OF_PROTOCOL", "OF_RUN", "STRENGTHS", "Variant",
    "addresses", "all_frames_of", "baselines", "collect", "control_of",
]  # fmt: skip

# filters whose strength is the option of the same name, and what that is
STRENGTHS = {
    "percentile": "percentile of the video's own posteriors below which frames are dropped (%)",
    "threshold": "threshold of the own-class posterior (0..1)",
}
# parameters that decide which frames are learned from; all others, but the run's own names, say how they are learned
OF_FILTER = {
    *("filter", "filter_options", "judged_by", "within", "matched_to", "previous", "inner_folds", "inner_start_from"),
    *("filtered_test", "shows_label_at"),
}
OF_RUN = {"study", "base_study", "variant", "seed", "make_missing"}
OF_PROTOCOL = {"protocol", "validation_subjects_share"}


@dataclass(frozen=True)
class Variant:
    """One variant as notebooks 04 and 05 left it, with all its seeds.

    Attributes
    ----------
    name : as the tables call it.
    address : "stage/variant" of its first seed, which is how ``matched_to`` names it.
    params : of its first seed.
    seeds : S seeds.
    votes : a table a seed, the same videos in the same order: video, subject, label, fold, predicted_<method>.
    validation_votes : the same of each fold's validation videos; () where a run has none.
    accounts : a table a seed, of the filter: fold (where it differs by fold), label, frames, kept ...
    frames : the frames tested, in the order of `frame_answers`: sample, video, subject, label.
    frame_answers : int16 [S, frames], the class of the largest posterior.
    out_of_sample : of the posteriors that the filter read, for the frames they judge; None: it read none.
    quality : of the filter against the truth, mean over seeds; empty where the truth is not known.
    """

    name: str
    address: str
    params: Mapping
    seeds: tuple[int, ...]
    votes: tuple[pd.DataFrame, ...]
    validation_votes: tuple[pd.DataFrame, ...]
    accounts: tuple[pd.DataFrame, ...]
    frames: pd.DataFrame
    frame_answers: np.ndarray
    out_of_sample: bool | None
    quality: Mapping[str, float]

    @property
    def protocol(self) -> str:
        """``nested`` or ``reference``."""
        return self.params["protocol"]

    @property
    def filter(self) -> str:
        """Name of its filter."""
        return self.params["filter"]

    @property
    def strength(self) -> float:
        """Strength of its filter: 0 for all frames; NaN where it has none or chose among frames chosen before."""
        if self.filter == "none":
            return 0.0
        alone = self.filter in STRENGTHS and not self.params.get("within") and "previous" not in self.params
        return float(self.params["filter_options"][self.filter]) if alone else np.nan

    @property
    def is_control(self) -> bool:
        """Whether it is the random control of another variant, not a candidate itself."""
        return self.filter == "random" and bool(self.params.get("matched_to"))

    @property
    def n_videos(self) -> int:
        """Videos that it was tested on."""
        return len(self.votes[0])

    @property
    def kept_share(self) -> float:
        """Frames kept, of those with a face that could have been learned from, over all folds and seeds."""
        return float(
            sum(one["kept"].sum() for one in self.accounts) / sum(one["frames"].sum() for one in self.accounts)
        )

    @property
    def setting(self) -> dict:
        """How it learned, apart from which frames: parameters equal in variants that differ by their filter alone."""
        return {name: value for name, value in self.params.items() if name not in OF_FILTER | OF_RUN}

    def column(self, name: str) -> np.ndarray:
        """What its votes say of each video whatever the seed ("video", "subject", "label"): [videos]."""
        return self.votes[0][name].to_numpy()

    def answers(self, vote: str) -> np.ndarray:
        """Classes answered, int64 [S, videos]; -1 = no answer."""
        return np.stack([one[f"predicted_{vote}"].to_numpy() for one in self.votes])

    def right(self, vote: str) -> np.ndarray:
        """Share of the seeds that answered each video right, float [videos]."""
        return (self.answers(vote) == self.column("label")).mean(axis=0)


def collect(
    upstream: Mapping[str, Sequence[Upstream]], frames: pd.DataFrame, *, classes: Sequence[str]
) -> dict[str, Variant]:
    """Read the finished runs of each variant, one a seed.

    Parameters
    ----------
    upstream : name of a variant -> its runs.
    frames : manifest of the corpus.

    Raises
    ------
    ValueError
        Runs were tested on different videos or frames, so that they cannot be paired; or the runs of one variant have
        another filter or protocol.
    """
    tested = frames.loc[frames["face_ok"], ["sample", "video", "subject", "label"]].reset_index(drop=True)
    variants = {name: _variant(name, runs, tested, classes) for name, runs in upstream.items()}
    videos = None
    for variant in variants.values():
        for seed, votes in zip(variant.seeds, variant.votes, strict=True):
            videos = votes["video"].tolist() if videos is None else videos
            if votes["video"].tolist() != videos:
                raise ValueError(
                    f"variant {variant.name!r} (seed {seed}) was tested on {len(votes)} videos, "
                    f"{next(iter(variants))!r} on {len(videos)} or on others: run both again on the same preprocessing"
                )
    return variants


def _variant(name: str, runs: Sequence[Upstream], tested: pd.DataFrame, classes: Sequence[str]) -> Variant:
    params = runs[0].params
    for key in ("protocol", "filter", "filter_options"):
        if found := [run.params[key] for run in runs if run.params[key] != params[key]]:
            raise ValueError(f"variant {name!r}: {key} = {found[0]!r} in one seed's run, {params[key]!r} in another's")
    known = [run.metrics["out_of_sample"] for run in runs]
    quality = [one for run in runs for one in run.metrics["filter_quality"]]
    return Variant(
        name=name,
        address=f"{runs[0].info['stage']}/{runs[0].info['variant']}",
        params=params,
        seeds=tuple(run.params["seed"] for run in runs),
        votes=tuple(run.table("votes") for run in runs),
        validation_votes=tuple(run.table("validation_votes") for run in runs),
        accounts=tuple(run.table("account") for run in runs),
        frames=tested,
        frame_answers=np.stack([_frame_answers(name, run, tested, classes) for run in runs]),
        out_of_sample=False if False in known else known[0],
        quality=pd.DataFrame(quality).mean().to_dict() if quality else {},
    )


def _frame_answers(name: str, run: Upstream, tested: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    predictions = run.table("predictions")
    posterior = predictions[[f"p_{one}" for one in classes]].to_numpy()
    answer = pd.Series(posterior.argmax(axis=1), index=predictions["sample"])
    if len(answer) != len(tested) or not answer.index.isin(tested["sample"]).all():
        raise ValueError(
            f"variant {name!r} was tested on {len(answer)} frames, the corpus has {len(tested)} with a face or has "
            "others: run it again on the same preprocessing"
        )
    return answer.loc[tested["sample"]].to_numpy(np.int16)


def baselines(variants: Mapping[str, Variant], *, baseline: str) -> dict[str, Variant]:
    """Protocol -> the variant that learned from all frames, and otherwise as `baseline` did.

    Raises
    ------
    ValueError
        `baseline` is not among the variants.
    """
    if baseline not in variants:
        raise ValueError(f"baseline {baseline!r} is not among the variants compared: {', '.join(variants)}")
    named = variants[baseline]
    alike = {one.protocol: one for one in variants.values() if one.filter == "none" and _apart(one) == _apart(named)}
    return {**alike, named.protocol: named}


def _apart(one: Variant) -> dict:
    return {name: value for name, value in one.setting.items() if name not in OF_PROTOCOL}


def all_frames_of(one: Variant, variants: Mapping[str, Variant], *, baseline: str) -> Variant | None:
    """What `one` is compared with: all frames, learned from in the same way, else the baseline of its protocol.

    None for a baseline itself and for a protocol that has none.
    """
    found = baselines(variants, baseline=baseline).get(one.protocol)
    if one.filter != "none":
        alike = [other for other in variants.values() if other.filter == "none" and other.setting == one.setting]
        found = found if found in alike or not alike else alike[0]
    return None if found is None or found.name == one.name else found


def control_of(one: Variant, variants: Mapping[str, Variant]) -> Variant | None:
    """The variant that learned from as many random frames as `one`; None where there is none.

    Raises
    ------
    ValueError
        There are several.
    """
    found = [
        other
        for other in variants.values()
        if other.is_control and other.params["matched_to"] == one.address and other.protocol == one.protocol
    ]
    if len(found) > 1:
        raise ValueError(f"{one.name!r} has {len(found)} random controls: {', '.join(other.name for other in found)}")
    return found[0] if found else None
