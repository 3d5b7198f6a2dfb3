"""Variants on stills side by side: table, paired tests, where all go wrong. The pure middle of notebook 14.

A row is a variant, the mean over its seeds. Intervals and tests are over *groups* (pixel-identical stills, stills of
one person); they speak of other pictures, given these trainings: what another training changes is ``sd_of_seeds``, and
with one seed a difference of a point may be the training's. Each variant is tested against the baseline that is
evaluated in the same way, on the stills that both were tested on; one family of Holm's correction holds all tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib import evaluation, intervals, labels
from emolib.comparison import ALPHA, with_bounds
from emolib.still_variants import StillVariant, baseline_of, common

ANSWERED = ("right", "wrong")


def summary(variants: Mapping[str, StillVariant], *, baseline: str, seed: int) -> pd.DataFrame:
    """One row a variant.

    Returns
    -------
    DataFrame
        variant, protocol, copies (of tested stills: "kept together" or "ANYWHERE"), accuracy, uar (each with _low and
        _high), difference (in accuracy, from `baseline`'s of the same evaluation, with _low and _high), p_holm,
        compared_with, sd_of_folds, sd_of_seeds (NaN from one), seeds, stills, n_parameters, best_epoch (mean),
        train_minutes (all models of a seed), never_answered (classes that a model was tested on and gave to no still:
        a training that failed), p_value.
    """
    rows = []
    for one in variants.values():
        found = {metric: _interval(one, metric, seed) for metric in ("accuracy", "uar")}
        other = baseline_of(one, variants, baseline=baseline)
        row = {"variant": one.name, "protocol": one.protocol, "copies": one.copies}
        row |= with_bounds("accuracy", found["accuracy"]) | with_bounds("uar", found["uar"])
        row |= _tested(one, other, seed) | {"compared_with": other.name if other else ""}
        rows.append(row | _spread(one) | _effort(one) | {"never_answered": never_answered(one)})
    table = pd.DataFrame(rows)
    tested = table["p_value"].notna()
    table.insert(table.columns.get_loc("p_value"), "p_holm", np.nan)
    table.loc[tested, "p_holm"] = evaluation.holm(table.loc[tested, "p_value"].to_numpy())
    return table[[*table.columns.drop("p_value"), "p_value"]]


def _interval(one: StillVariant, metric: str, seed: int) -> intervals.Interval:
    return intervals.subject_bootstrap(one.label, one.answers, one.group, metric=metric, seed=seed)


def _paired(one: StillVariant, other: StillVariant, seed: int) -> intervals.PairedTest:
    sample = common({"one": one, "other": other})
    here, there = one.of(sample), other.of(sample)
    answers = one.answers[:, here], other.answers[:, there]
    return intervals.paired_test(one.label[here], *answers, one.group[here], seed=seed)


def _tested(one: StillVariant, other: StillVariant | None, seed: int) -> dict[str, float]:
    if other is None:
        return dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"), np.nan)
    found = _paired(one, other, seed)
    return with_bounds("difference", found) | {"p_value": found.p_value}


def _spread(one: StillVariant) -> dict[str, float]:
    right = one.answers == one.label
    folds = [evaluation.by_fold(one.label, answer, fold) for answer, fold in zip(one.answers, one.fold, strict=True)]
    by_seed = right.mean(axis=1)
    return {
        "sd_of_folds": float(np.mean([evaluation.mean_over_folds(of_seed).sd for of_seed in folds])),
        "sd_of_seeds": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else np.nan,
    }


def _effort(one: StillVariant) -> dict[str, float]:
    return {
        "seeds": len(one.seeds),
        "stills": len(one.stills),
        "n_parameters": one.metrics[0]["n_parameters"],
        "best_epoch": float(np.mean([epoch for of_seed in one.metrics for epoch in of_seed["best_epochs"]])),
        "train_minutes": float(np.mean([sum(of_seed["train_seconds"]) / 60 for of_seed in one.metrics])),
    }


def never_answered(one: StillVariant) -> str:
    """Classes that a model was tested on and gave to no still, with the model's fold and seed; "" for none."""
    names, found = labels.names(one.label_space), []
    for seed, answer, fold in zip(one.seeds, one.answers, one.fold, strict=True):
        for k in np.unique(fold):
            where = f" in fold {k}" if len(np.unique(fold)) > 1 else ""
            where += f" (seed {seed})" if len(one.seeds) > 1 else ""
            found += [names[c] + where for c in np.setdiff1d(one.label[fold == k], answer[fold == k])]
    return ", ".join(found)


def best(table: pd.DataFrame, *, baseline: str) -> str:
    """The variant of highest accuracy among those evaluated as `baseline`: a description of the summary, no choice."""
    how = table.set_index("variant")[["protocol", "copies"]]
    alike = table[(how == how.loc[baseline]).all(axis=1).to_numpy()]
    return alike.loc[alike["accuracy"].idxmax(), "variant"]


def forest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The summary's accuracies as `result_plots.forest` draws them, in blocks by evaluation."""
    columns = {"accuracy": "value", "accuracy_low": "low", "accuracy_high": "high"}
    block = table["protocol"] + ", copies " + table["copies"]
    return table.rename(columns=columns)[["variant", *columns.values()]].assign(protocol=block, control=False)


def published_rows(table: pd.DataFrame) -> pd.DataFrame:
    """`published.still_table` as `result_plots.forest` draws it, under names that are no variant's of ours."""
    rows = table.rename(columns={"accuracy": "value"})
    return rows.assign(variant=rows["variant"] + " (published)")


def care(variants: Mapping[str, StillVariant], *, seed: int) -> pd.DataFrame:
    """What the evaluation itself is worth: variants that learn alike, evaluated in another way than `nested`, together.

    Under `reference` no still is put aside to validate: its models also learn from more of them.

    Returns
    -------
    DataFrame: variant (nested, copies kept together), other, protocol and copies of the other, accuracy, other_accuracy
    and difference (other - variant) with _low and _high (paired by still); empty where there is no such pair.
    """
    rows = []
    for one in variants.values():
        if one.protocol != "nested" or one.copies != "kept together":
            continue
        for other in variants.values():
            if other is one or other.learning != one.learning or other.evaluation == one.evaluation:
                continue
            row = {"variant": one.name, "other": other.name, "protocol": other.protocol, "copies": other.copies}
            row |= with_bounds("accuracy", _interval(one, "accuracy", seed))
            row |= with_bounds("other_accuracy", _interval(other, "accuracy", seed))
            rows.append(row | with_bounds("difference", _paired(other, one, seed)))
    return pd.DataFrame(rows)


def confusion(one: StillVariant, *, n_classes: int) -> np.ndarray:
    """Share of each true class by class answered, averaged over folds and seeds: float [n_classes, n_classes]."""
    matrices = [
        evaluation.confusion(one.label[fold == k], answer[fold == k], n_classes=n_classes, normalise="true")
        for answer, fold in zip(one.answers, one.fold, strict=True)
        for k in np.unique(fold)
    ]
    return np.nanmean(matrices, axis=0)


def confusions(variants: Mapping[str, StillVariant], *, classes: Sequence[str]) -> pd.DataFrame:
    """How often each fold of each variant answers what to a label, over all seeds: variant, fold, label, answer, n."""
    names, tables = np.asarray(classes), []
    for name, one in variants.items():
        label = np.tile(one.label, len(one.seeds))
        rows = {"variant": name, "fold": one.fold.ravel(), "label": names[label], "answer": names[one.answers.ravel()]}
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables).groupby(["variant", "fold", "label", "answer"], sort=False).size().reset_index(name="n")


def recall(variants: Mapping[str, StillVariant], *, classes: Sequence[str]) -> pd.DataFrame:
    """Recall of each class, a row a variant, over all seeds: index variant, columns `classes`; NaN where undefined."""
    rows = {}
    for name, one in variants.items():
        true = np.tile(one.label, len(one.seeds))
        rows[name] = evaluation.per_class(true, one.answers.ravel(), classes=classes)["recall"].to_numpy()
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(classes)).rename_axis("variant")


def wrong_for_all(variants: Mapping[str, StillVariant], *, classes: Sequence[str]) -> pd.DataFrame:
    """Stills that every variant gets wrong with every seed, of those that all were tested on.

    Returns
    -------
    DataFrame, what they are surest of first: sample, label and answer (class names; the most common answer), agreement
    (share of all models that give it), own_posterior (mean posterior of the label given).
    """
    sample = common(variants)
    at = {name: one.of(sample) for name, one in variants.items()}
    first = next(iter(variants.values()))
    label = first.label[at[first.name]]
    answers = np.concatenate([one.answers[:, at[name]] for name, one in variants.items()])  # models, stills
    posterior = np.concatenate([one.posterior[:, at[name]] for name, one in variants.items()])
    always = (answers != label).all(axis=0)
    votes = np.stack([(answers[:, always] == k).mean(axis=0) for k in range(len(classes))])
    own = posterior[:, np.flatnonzero(always), label[always]].mean(axis=0)
    table = pd.DataFrame({"sample": sample[always], "label": np.asarray(classes)[label[always]]})
    table["answer"] = np.asarray(classes)[votes.argmax(axis=0)]
    table["agreement"], table["own_posterior"] = votes.max(axis=0), own
    return table.sort_values(["own_posterior", "sample"], ignore_index=True)


def described(
    variants: Mapping[str, StillVariant], manifest: pd.DataFrame, columns: Sequence[str], *, classes: Sequence[str]
) -> pd.DataFrame:
    """Mean and spread of numbers of the manifest (valence, arousal) over the stills answered right and wrong.

    Parameters
    ----------
    manifest : with `sample`; those of `columns` that it lacks are passed over. A value that is no number in [-1, 1] is
        left out (AffectNet writes -2 where there is none).

    Returns
    -------
    DataFrame: variant, class (the label), answered ("right", "wrong"; a still counts once a seed), column, mean, sd, n;
    empty where the manifest has none of the columns.
    """
    known, rows = manifest.set_index("sample"), []
    for name, one in variants.items():
        right = (one.answers == one.label).ravel()
        label, of_still = np.tile(one.label, len(one.seeds)), known.loc[one.stills["sample"]]
        for column in [column for column in columns if column in manifest]:
            value = np.tile(of_still[column].to_numpy(dtype=np.float64), len(one.seeds))
            valid = np.abs(value) <= 1
            for k, answered in ((k, answered) for k in range(len(classes)) for answered in ANSWERED):
                chosen = value[valid & (label == k) & (right == (answered == "right"))]
                row = {"variant": name, "class": classes[k], "answered": answered, "column": column, "n": len(chosen)}
                row["mean"] = chosen.mean() if len(chosen) else np.nan
                rows.append(row | {"sd": chosen.std(ddof=1) if len(chosen) > 1 else np.nan})
    return pd.DataFrame(rows, columns=["variant", "class", "answered", "column", "mean", "sd", "n"])


def verdict(table: pd.DataFrame) -> str:
    """What the tests of the summary say."""
    tested = table[table["p_holm"].notna()]
    if tested.empty:
        return "Nothing to say: no variant was compared with the baseline."
    sentences = [
        f"{one.variant} is {'better' if one.difference > 0 else 'worse'} than {one.compared_with} ({one.protocol}, "
        f"copies {one.copies}): {100 * one.difference:+.1f} points [{100 * one.difference_low:+.1f}, "
        f"{100 * one.difference_high:+.1f}], p {'< 0.001' if one.p_holm < 0.001 else f'= {one.p_holm:.3f}'} (Holm)."
        for one in tested[tested["p_holm"] < ALPHA].itertuples()
    ]
    if len(sentences) < len(tested):
        sentences.append(f"{len(tested) - len(sentences)} of {len(tested)} variants do not differ beyond chance.")
    if failed := [f"{one.variant} ({one.never_answered})" for one in table[table["never_answered"] != ""].itertuples()]:
        sentences.append(f"A model that never answers a class has not learned it; look at {', '.join(failed)}.")
    if (table["seeds"] == 1).all():
        sentences.append("One seed each: the luck of training is in none of these intervals.")
    return " ".join(sentences)
