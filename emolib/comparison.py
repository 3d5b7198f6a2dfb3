"""The variants of a study side by side: table, paired tests, verdict. The pure middle of notebook 07.

A row is a variant, the mean over its seeds (`intervals` says how seeds enter an interval). What it is compared with:

| | is | answers |
|---|---|---|
| baseline | all frames, same protocol; where the table has it, learned from in the same way | does it help? |
| control | filter ``random``, ``matched_to`` it: as many frames of each fold and video | is it which frames? |

One family of Holm's correction holds all tests of the table. A control is no candidate: its difference from all frames
is shown without a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib import calibration, evaluation, intervals, voting
from emolib.runs import Upstream
from emolib.variants import STRENGTHS, Variant, all_frames_of, baselines, control_of

ALPHA = 0.05


# what a reader looks for first stands first
ANSWER = ("variant", "protocol", "kept_share", "video_accuracy", "difference", "p_holm", "p_random_holm")


def summary(variants: Mapping[str, Variant], *, baseline: str, vote: str, seed: int) -> pd.DataFrame:
    """One row a variant: what was kept, accuracies with intervals, and the paired tests.

    Returns
    -------
    DataFrame
        First what answers the question: ``variant, protocol, kept_share, video_accuracy``; ``difference`` from
        ``baseline`` in video accuracy and its ``p_holm``; ``difference_against_random``, from ``control``, and its
        ``p_random_holm``. Then ``filter, out_of_sample`` (of the posteriors that the filter read), ``subjects``
        tested, ``seeds, frame_accuracy, video_uar, sd_of_seeds`` (of the video accuracy; NaN from one seed), ``p_value,
        p_random``. Accuracies and differences have _low and _high.
    """
    baselines(variants, baseline=baseline)  # an unknown one is an error
    rows = []
    for one in variants.values():
        all_frames = all_frames_of(one, variants, baseline=baseline)
        control = control_of(one, variants)
        row = _accuracies(one, vote=vote, seed=seed)
        row |= {"baseline": all_frames.name if all_frames else ""}
        row |= _tested(one, all_frames, ("difference", "p_value"), vote=vote, seed=seed)
        row |= {"p_holm": np.nan, "control": control.name if control else ""}
        row |= _tested(one, control, ("difference_against_random", "p_random"), vote=vote, seed=seed)
        rows.append(row | {"p_random_holm": np.nan})
    table = pd.DataFrame(rows)
    table.loc[[one.is_control for one in variants.values()], "p_value"] = np.nan
    p_values = table[["p_value", "p_random"]].to_numpy()
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[np.isfinite(p_values)] = evaluation.holm(p_values[np.isfinite(p_values)])
    table[["p_holm", "p_random_holm"]] = adjusted
    first = [name for name in table if name.startswith(ANSWER)]
    return table[[*first, *table.columns.difference(first, sort=False)]]


def _accuracies(one: Variant, *, vote: str, seed: int) -> dict:
    label, subject, answers = one.column("label"), one.column("subject"), one.answers(vote)
    of_frames = (one.frames["label"].to_numpy(), one.frame_answers, one.frames["subject"].to_numpy())
    judged_by = {True: "yes", False: "NO", None: "–"}[None if one.filter == "none" else one.out_of_sample]
    row = {"variant": one.name, "protocol": one.protocol, "filter": one.filter, "kept_share": one.kept_share}
    row |= {"out_of_sample": judged_by, "subjects": len(set(subject)), "seeds": len(one.seeds)}
    row |= with_bounds("frame_accuracy", intervals.subject_bootstrap(*of_frames, seed=seed))
    row |= with_bounds("video_accuracy", intervals.subject_bootstrap(label, answers, subject, seed=seed))
    by_seed = (answers == label).mean(axis=1)
    row |= {"sd_of_seeds": by_seed.std(ddof=1) if len(by_seed) > 1 else np.nan}
    return row | with_bounds("video_uar", intervals.subject_bootstrap(label, answers, subject, metric="uar", seed=seed))


def _tested(one: Variant, other: Variant | None, names: tuple[str, str], *, vote: str, seed: int) -> dict[str, float]:
    """Difference with its bounds, and p; NaN where there is nothing to compare with."""
    difference, p_value = names
    if other is None:
        return dict.fromkeys((difference, f"{difference}_low", f"{difference}_high", p_value), np.nan)
    label, subject = one.column("label"), one.column("subject")
    test = intervals.paired_test(label, one.answers(vote), other.answers(vote), subject, seed=seed)
    return with_bounds(difference, test) | {p_value: test.p_value}


def with_bounds(name: str, found: intervals.Interval | intervals.PairedTest) -> dict[str, float]:
    """Columns ``x``, ``x_low`` and ``x_high`` of an interval or a test."""
    value = found.value if isinstance(found, intervals.Interval) else found.difference
    return {name: value, f"{name}_low": found.low, f"{name}_high": found.high}


def filter_curve(variants: Mapping[str, Variant], table: pd.DataFrame, *, vote: str, baseline: str) -> pd.DataFrame:
    """Accuracy against the filter's strength: filter, strength, metric (with its protocol), value, low, high.

    All frames are the strength 0. Drawn are the variants that learned as the baseline did, apart from which frames
    (under either protocol); beside them their random controls, at the strength of the variant that they match.
    `table` is the `summary` of the variants.
    """
    starts, known, rows = baselines(variants, baseline=baseline), table.set_index("variant"), []
    for one in variants.values():
        start = starts.get(one.protocol)
        if start is None or one.setting != start.setting or not np.isfinite(one.strength):
            continue
        control = start if one.filter == "none" else control_of(one, variants)
        lines = {f"video, vote {vote}": (one, "video_accuracy"), "frame": (one, "frame_accuracy")}
        lines |= {f"video, vote {vote}, as many random frames": (control, "video_accuracy")} if control else {}
        for name, (shown, metric) in lines.items():
            row = {"strength": one.strength, "metric": f"{name} ({one.protocol})"}
            row |= {end or "value": known.loc[shown.name, f"{metric}{end and '_'}{end}"] for end in ("", "low", "high")}
            rows += [{"filter": each} | row for each in (STRENGTHS if one.filter == "none" else [one.filter])]
    curve = pd.DataFrame(rows, columns=["filter", "strength", "metric", "value", "low", "high"])
    sizes = curve.groupby(["filter", "metric"])["strength"].transform("nunique")
    return curve[sizes > 1].sort_values(["filter", "metric", "strength"], ignore_index=True)


def forest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Video accuracy of the summary's variants as `result_plots.forest` draws it."""
    columns = {"video_accuracy": "value", "video_accuracy_low": "low", "video_accuracy_high": "high"}
    rows = table.rename(columns=columns)[["variant", "protocol", *columns.values()]]
    return rows.assign(control=table["variant"].isin(table["control"]))


def votes(variants: Mapping[str, Variant], *, seed: int) -> pd.DataFrame:
    """Video accuracy by the four votes, a row a variant: variant, protocol, and each vote with its _low and _high."""
    rows = []
    for one in variants.values():
        row = {"variant": one.name, "protocol": one.protocol}
        for method in voting.METHODS:
            answered = (one.column("label"), one.answers(method), one.column("subject"))
            row |= with_bounds(method, intervals.subject_bootstrap(*answered, seed=seed))
        rows.append(row)
    return pd.DataFrame(rows)


def confusion(one: Variant, *, vote: str, n_classes: int) -> np.ndarray:
    """Share of each true class's videos by class answered, over all seeds: float [n_classes, n_classes]."""
    answers = one.answers(vote)
    true = np.tile(one.column("label"), len(answers))
    return evaluation.confusion(true, answers.ravel(), n_classes=n_classes, normalise="true")


def filter_quality(variants: Mapping[str, Variant]) -> pd.DataFrame:
    """Each filter against the known truth, one row a variant; empty where the corpus has no truth."""
    return pd.DataFrame([{"variant": one.name, **one.quality} for one in variants.values() if one.quality])


def calibration_table(
    runs: Mapping[str, Upstream], frames: pd.DataFrame, *, classes: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """How far the posteriors of the test frames can be taken at their word, as they are and with a temperature by fold.

    Temperatures are fitted on the fold's validation people; under `reference` these are the test people, so that row
    has none.

    Returns
    -------
    table : a row a run: variant, protocol, ece, nll, brier, temperature (mean of folds), and with it ece_tempered,
        nll_tempered, brier_tempered.
    curves : `calibration.reliability` of each run, as it is and where it can be "<name>, tempered".
    """
    label, measures, rows, curves = frames.set_index("sample")["label"], ("ece", "nll", "brier"), [], {}
    for name, run in runs.items():
        test = run.table("predictions")
        columns, true, fold = [f"p_{one}" for one in classes], label.loc[test["sample"]].to_numpy(), test["fold"]
        found = calibration.summary(test[columns].to_numpy(), true, fold=fold)
        row = {"variant": name, "protocol": run.params["protocol"]} | {key: found[key] for key in measures}
        curves[name] = calibration.reliability(test[columns].to_numpy(), true)
        if run.params["protocol"] == "nested":
            fitted = calibration.fit_by_fold(run.table("validation"), label)
            tempered = calibration.apply_by_fold(test, fitted)[columns].to_numpy()
            found = calibration.summary(tempered, true, fold=fold)
            row |= {"temperature": fitted["temperature"].mean()} | {f"{key}_tempered": found[key] for key in measures}
            curves[f"{name}, tempered"] = calibration.reliability(tempered, true)
        rows.append(row)
    return pd.DataFrame(rows), curves


def best_of_each_filter(table: pd.DataFrame, *, baseline: str) -> list[str]:
    """Of each filter the variant with the highest video accuracy under the baseline's protocol, best first.

    A description of the table, not a choice that any reported number was made with. Left out are all frames, random
    ones, and what was assembled from other variants (``..._auto``), which has no model of its own.
    """
    protocol = table.set_index("variant").loc[baseline, "protocol"]
    others = table[~table["filter"].isin(["none", "random"]) & ~table["filter"].str.endswith("_auto")]
    others = others[others["protocol"] == protocol].sort_values("video_accuracy", ascending=False, kind="stable")
    return others.drop_duplicates("filter")["variant"].tolist()


def verdict(table: pd.DataFrame) -> str:
    """What the table says about the question, each comparison by itself.

    Better *because of which frames* is only what beats all frames and as many random ones, both after correction.
    """
    tested = table[table["p_holm"].notna()]
    if tested.empty:
        return "Nothing to say: no variant was compared with learning from all frames."
    helps = _beats(tested, "difference", "p_holm")
    chooses = _beats(tested, "difference_against_random", "p_random_holm")
    n_tests = int(table[["p_holm", "p_random_holm"]].notna().sum().sum())
    corrected = f"after Holm's correction for {n_tests} tests"
    both = tested[helps & chooses]
    if len(both):
        sentences = [f"Better because of which frames: {_names(both)}, {corrected}."]
    elif helps.any():
        sentences = [f"Not shown that it matters which frames are kept, {corrected}."]
    else:
        sentences = [f"No gain shown: none of {len(tested)} variants is better than all frames, {corrected}."]
    for row in tested[helps].itertuples():
        against_all = f"than learning from all frames ({row.baseline}): {_found(row, 'difference', row.p_holm)}"
        sentences.append(f"{row.variant} ({row.protocol}) is better {against_all}; {_against_random(row)}.")
    for row in tested[chooses & ~helps].itertuples():
        found = f"({row.control}): {_found(row, 'difference_against_random', row.p_random_holm)}"
        named = f"{row.variant} ({row.protocol})"
        sentences.append(f"{named} is better than as many random frames {found}, but not shown better than all frames.")
    worse = tested[(tested["p_holm"] < ALPHA) & (tested["difference"] < 0)]
    if len(worse):
        sentences.append(f"Worse than learning from all frames: {_names(worse)}.")
    worse = tested[(tested["p_random_holm"] < ALPHA) & (tested["difference_against_random"] < 0)]
    if len(worse):
        sentences.append(f"Worse than as many random frames: {_names(worse)}.")
    n_subjects = table["subjects"].min()
    smallest = n_tests * 2.0 ** (1 - n_subjects)  # all subjects on one side, of two
    if smallest >= ALPHA:
        found = f"Sign flips of {n_subjects} people cannot give a p below {min(1, smallest):.2f} after correction"
        sentences.append(f"{found} for {n_tests} tests: this table could not have shown any difference.")
    return " ".join(sentences)


def _beats(table: pd.DataFrame, difference: str, p_value: str) -> pd.Series:
    return (table[p_value] < ALPHA) & (table[difference] > 0)


def _against_random(row: tuple) -> str:
    if not row.control:
        return "no control of equal size was run, so it is not shown to be because of which frames"
    found = _found(row, "difference_against_random", row.p_random_holm)
    shown = row.p_random_holm < ALPHA and row.difference_against_random > 0
    return f"{'and better' if shown else 'not shown to be better'} than as many random frames ({row.control}): {found}"


def _found(row: tuple, name: str, p_value: float) -> str:
    """A difference in words; p never "= 0.000", which no permutation test can find."""
    value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    p = "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
    return f"difference {value:+.1%} of videos (95 % interval {low:+.1%} to {high:+.1%}, corrected p {p})"


def _names(table: pd.DataFrame) -> str:
    return ", ".join(f"{row.variant} ({row.protocol})" for row in table.itertuples())
