"""The variants of a study side by side: table, paired tests, filter curve. The pure middle of notebook 07."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import evaluation, intervals, voting
from emolib.runs import Upstream

# filters whose strength is the option of the same name, and what that is
STRENGTHS = {
    "percentile": "percentile of the video's own posteriors below which frames are dropped (%)",
    "threshold": "threshold of the own-class posterior (0..1)",
}


@dataclass(frozen=True)
class Variant:
    """One variant of frame filtering as notebook 04 left it."""

    name: str
    protocol: str
    filter: str
    filter_options: dict
    results: pd.DataFrame  # metric, value, low, high, mean_of_folds, sd_of_folds, n
    votes: pd.DataFrame  # video, subject, label, fold, predicted_<method>
    kept_share: float  # of the frames with a face
    out_of_sample: bool | None  # posteriors that the filter read, for the frames they judge; None: it read none
    quality: dict  # of the filter against the truth; empty where the truth is not known

    @property
    def n_videos(self) -> int:
        """Videos that the variant was tested on."""
        return len(self.votes)


def collect(upstream: Mapping[str, Upstream]) -> dict[str, Variant]:
    """Read the finished runs of stage frame_filtering, by variant name.

    Raises
    ------
    ValueError
        Two variants were tested on different videos, so that they cannot be paired.
    """
    variants = {name: _variant(name, run) for name, run in upstream.items()}
    tested = {name: tuple(variant.votes["video"]) for name, variant in variants.items()}
    for name, videos in tested.items():
        first = next(iter(tested))
        if videos != tested[first]:
            raise ValueError(
                f"variant {name!r} was tested on {len(videos)} videos, {first!r} on {len(tested[first])} or on others: "
                "run both again on the same preprocessing"
            )
    return variants


def _variant(name: str, run: Upstream) -> Variant:
    account = run.table("account")
    quality = run.metrics["filter_quality"]
    return Variant(
        name=name,
        protocol=run.params["protocol"],
        filter=run.params["filter"],
        filter_options=run.params["filter_options"],
        results=run.table("results"),
        votes=run.table("votes"),
        kept_share=account["kept"].sum() / account["frames"].sum(),
        out_of_sample=run.metrics["out_of_sample"],
        quality=quality[0] if quality else {},
    )


def summary(variants: Mapping[str, Variant], *, baseline: str, vote: str, seed: int) -> pd.DataFrame:
    """One row a variant: what was kept, accuracies with intervals, and the paired test against the baseline.

    The baseline of a protocol is the variant whose filter keeps all frames: `baseline` itself under its own protocol.
    Variants of a protocol without a baseline have no test. Holm's correction runs over all tests of the table.

    Returns
    -------
    DataFrame: variant, protocol, filter, kept_share, out_of_sample (of the posteriors that the filter read), p_value,
    p_holm, and each with _low and _high: frame_accuracy, video_accuracy, video_uar, difference (in video accuracy,
    from the baseline).
    """
    if baseline not in variants:
        raise ValueError(f"baseline {baseline!r} is not among the variants compared: {', '.join(variants)}")
    baselines = {one.protocol: one for one in variants.values() if one.filter == "none"}
    baselines[variants[baseline].protocol] = variants[baseline]
    rows = [_row(one, baselines.get(one.protocol), vote=vote, seed=seed) for one in variants.values()]
    table = pd.DataFrame(rows)
    tested = table["p_value"].notna()
    table["p_holm"] = np.nan
    if tested.any():
        table.loc[tested, "p_holm"] = evaluation.holm(table.loc[tested, "p_value"].to_numpy())
    return table


def _row(one: Variant, against: Variant | None, *, vote: str, seed: int) -> dict:
    shown = {
        "frame_accuracy": "frame accuracy",
        "video_accuracy": f"video {vote} accuracy",
        "video_uar": f"video {vote} uar",
    }
    row = {"variant": one.name, "protocol": one.protocol, "filter": one.filter, "kept_share": one.kept_share}
    row["out_of_sample"] = {True: "yes", False: "NO", None: "–"}[None if one.filter == "none" else one.out_of_sample]
    row |= _with_bounds(one, shown)
    row |= dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"), np.nan)
    if against is not None and against.name != one.name:
        column = f"predicted_{vote}"
        test = intervals.paired_test(
            one.votes["label"].to_numpy(),
            one.votes[column].to_numpy(),
            against.votes[column].to_numpy(),
            one.votes["subject"].to_numpy(),
            seed=seed,
        )
        row |= {"difference": test.difference, "difference_low": test.low, "difference_high": test.high}
        row |= {"p_value": test.p_value}
    return row


def _with_bounds(one: Variant, metrics: Mapping[str, str]) -> dict[str, float]:
    """Columns ``x``, ``x_low``, ``x_high`` of the variant's results, from column name -> metric."""
    results = one.results.set_index("metric")
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {f"{x}{end}": results.loc[metric, found] for x, metric in metrics.items() for end, found in ends.items()}


def filter_curve(variants: Mapping[str, Variant], *, vote: str) -> pd.DataFrame:
    """Accuracy against the filter's strength: filter, strength, metric (with its protocol), value, low, high.

    The variant that keeps all frames is the percentile 0 and the threshold 0 of its protocol.
    """
    rows = []
    for one in variants.values():
        for curve in STRENGTHS if one.filter == "none" else STRENGTHS.keys() & {one.filter}:
            strength = 0.0 if one.filter == "none" else one.filter_options[curve]
            for metric in ("frame accuracy", f"video {vote} accuracy"):
                result = one.results.set_index("metric").loc[metric]
                row = {"filter": curve, "strength": strength, "metric": f"{metric} ({one.protocol})"}
                rows.append(row | {k: result[k] for k in ("value", "low", "high")})
    table = pd.DataFrame(rows)
    sizes = table.groupby(["filter", "metric"])["strength"].transform("nunique")
    return table[sizes > 1].sort_values(["filter", "metric", "strength"], ignore_index=True)


def interval_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Video accuracy of the summary's variants as `plots.intervals` draws it: variant, value, low, high."""
    columns = {"video_accuracy": "value", "video_accuracy_low": "low", "video_accuracy_high": "high"}
    return table.rename(columns=columns)[["variant", *columns.values()]]


def votes(variants: Mapping[str, Variant]) -> pd.DataFrame:
    """Video accuracy by the four votes, a row a variant: variant, protocol, and each vote with its _low and _high."""
    rows = []
    for one in variants.values():
        of_methods = _with_bounds(one, {method: f"video {method} accuracy" for method in voting.METHODS})
        rows.append({"variant": one.name, "protocol": one.protocol} | of_methods)
    return pd.DataFrame(rows)


def filter_quality(variants: Mapping[str, Variant]) -> pd.DataFrame:
    """Each filter against the known truth, one row a variant; empty where the corpus has no truth."""
    return pd.DataFrame([{"variant": one.name, **one.quality} for one in variants.values() if one.quality])


def best_filter(table: pd.DataFrame, *, baseline: str) -> str:
    """The variant with the highest video accuracy under the baseline's protocol, baseline left out.

    A description of the table, not a choice that any reported number was made with.
    """
    protocol = table.set_index("variant").loc[baseline, "protocol"]
    others = table[(table["variant"] != baseline) & (table["protocol"] == protocol)]
    return baseline if others.empty else others.loc[others["video_accuracy"].idxmax(), "variant"]


def verdict(table: pd.DataFrame, *, baseline: str) -> str:
    """What the table says about the question: the variants whose corrected p is below 0.05, or "no gain shown"."""
    tested = table[table["p_holm"].notna()]
    better = tested[(tested["p_holm"] < 0.05) & (tested["difference"] > 0)]
    worse = tested[(tested["p_holm"] < 0.05) & (tested["difference"] < 0)]
    if better.empty and worse.empty:
        return (
            f"No gain shown: none of the {len(tested)} variants differs from learning from all frames ({baseline!r}) "
            "beyond chance (Holm-corrected p >= 0.05)."
        )
    sentences = [
        f"{row.variant} ({row.protocol}) is {'better' if row.difference > 0 else 'worse'} than learning from all "
        f"frames: difference {row.difference:+.1%} of videos (95 % interval {row.difference_low:+.1%} to "
        f"{row.difference_high:+.1%}, Holm-corrected p {_p(row.p_holm)})."
        for row in pd.concat([better, worse]).itertuples()
    ]
    if better.empty:
        sentences.insert(0, "No gain shown.")
    return " ".join(sentences)


def _p(value: float) -> str:
    """A p-value in words: never "= 0.000", which no permutation test can find."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
