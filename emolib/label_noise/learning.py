"""Does learning without the suspected labels help? Variants, their random controls, tests against both labels.

Every variant is compared with learning from all stills and with `CONTROL`: as many stills of each class, drawn at
random. Each seed draws its own control and starts from its own weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emolib import evaluation, filters, intervals, posteriors, training
from emolib.label_noise.detection import ALL_CLASSES, METRICS

ALL, ORACLE, CONTROL = "all", "oracle", "random_as_"  # all stills; without the labels known to be wrong; its control


def variants(selections: Mapping[str, filters.FrameSelection], learn: pd.DataFrame) -> pd.DataFrame:
    """What is learned from: bool [len(learn), variants], rows of part "train" only.

    `ALL`, `ORACLE` (without the labels known to be wrong: what a perfect filter would reach) and each filter; a filter
    of such a name, or of a control's, or one that keeps nothing, is a ValueError.
    """
    if taken := [name for name in selections if name in (ALL, ORACLE) or name.startswith(CONTROL)]:
        raise ValueError(f"filter name(s) {taken} are taken: not {ALL!r}, not {ORACLE!r}, not {CONTROL}...")
    train = (learn["part"] == "train").to_numpy()
    kept = {ALL: train, ORACLE: train & ~learn["wrong"].to_numpy()}
    kept |= {name: train & one.keep for name, one in selections.items()}
    if empty := [name for name, keep in kept.items() if not keep.any()]:
        raise ValueError(f"nothing to learn from: {empty} keep none of the {train.sum()} stills of part 'train'")
    return pd.DataFrame(kept, index=learn.index)


def controls(kept: pd.DataFrame, label: np.ndarray) -> dict[str, str]:
    """Variant -> its random control's name. Variants with as many stills of each class share one; `ALL` has none."""
    named, control = {}, {}
    for name in kept.columns.drop(ALL):
        size = tuple(np.bincount(label[kept[name]], minlength=label.max() + 1))
        control[name] = named.setdefault(size, f"{CONTROL}{name}")
    return control


def members(kept: pd.DataFrame, learn: pd.DataFrame, *, seeds: Sequence[int]) -> list[training.Member]:
    """Every variant and every random control, with every seed: ``<variant>.<seed>``; rows are those of the arrays.

    A control is what the filter `random` keeps of part "train", as many of each class, drawn anew for each seed.
    """
    label, row = learn["label"].to_numpy(), learn.index.to_numpy()
    validation = row[(learn["part"] == "validation").to_numpy()]
    control = {random: like for like, random in reversed(controls(kept, label).items())}
    by_class = learn.assign(video=label, face_ok=kept[ALL])  # the control's "video" is a class
    stack = []
    for seed in seeds:
        chosen = {name: kept[name].to_numpy() for name in kept}
        for name, like in control.items():
            sizes = {k: int(kept[like].to_numpy()[label == k].sum()) for k in np.unique(label[kept[ALL]])}
            chosen[name] = filters.select("random", by_class, None, n_per_video=sizes, seed=seed).keep
        stack += [training.Member(f"{name}.{seed}", row[keep], validation, seed) for name, keep in chosen.items()]
    return stack


def answers(
    trained: Sequence[training.Trained], test: pd.DataFrame, images: np.ndarray, guides: np.ndarray | None, **network
) -> pd.DataFrame:
    """Predicted class of every test still by every trained member: variant, seed, sample, predicted."""
    tables = []
    for one in trained:
        posterior = posteriors.predict(images, guides, test.index.to_numpy(), state=one.state, **network)
        variant, seed = one.name.rsplit(".", 1)
        answer = {"variant": variant, "seed": int(seed), "sample": test["sample"], "predicted": posterior.argmax(1)}
        tables.append(pd.DataFrame(answer))
    return pd.concat(tables, ignore_index=True)


def results(predicted: pd.DataFrame, test: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Accuracy and UAR of every variant against both labels, over all its seeds.

    Returns
    -------
    DataFrame: variant, against ("given" or "true" label; only stills whose true label is a class), metric, value, low,
    high (95 %, bootstrap over groups, the seeds' answers to a still staying together), sd_of_seeds, n (stills).
    """
    rows = []
    for variant, judged in predicted.groupby("variant", sort=False):
        for against, (true, answer, group, of_seed) in _against(judged, test).items():
            for metric in ("accuracy", "uar"):
                found = intervals.subject_bootstrap(true, answer, group, metric=metric, seed=seed)
                spread = evaluation.by_fold(true, answer, of_seed, metric=metric).std(ddof=1)
                row = {"variant": variant, "against": against, "metric": metric, "value": found.value}
                n = len(true) // len(np.unique(of_seed))
                rows.append(row | {"low": found.low, "high": found.high, "sd_of_seeds": spread, "n": n})
    return pd.DataFrame(rows)


def _against(judged: pd.DataFrame, test: pd.DataFrame) -> dict[str, tuple[np.ndarray, ...]]:
    """Label kind -> (label, answer, group, seed) of every answer to a still that has such a label."""
    of_still = test.set_index("sample").loc[judged["sample"]]
    columns = {"given": of_still["label"], "true": of_still["true"]}
    pieces = (judged["predicted"].to_numpy(), of_still["group"].to_numpy(), judged["seed"].to_numpy())
    found = {}
    for kind, label in columns.items():
        has = label.to_numpy() >= 0
        found[kind] = (label.to_numpy()[has], *(piece[has] for piece in pieces))
    return found


def tests(predicted: pd.DataFrame, test: pd.DataFrame, control: Mapping[str, str], *, seed: int) -> pd.DataFrame:
    """Each variant against all stills and against its random control of equal size, paired by still and seed.

    Interval and p are over stills, given these trainings: how far the difference moves from training to training is
    ``sd_of_seeds`` (NaN for one seed), and a difference of its size is no finding.

    Returns
    -------
    DataFrame: variant, against ("given" or "true" label), compared_with (`ALL` or the control), difference (in
    accuracy), low, high, sd_of_seeds, p_value, p_holm (Holm over the tests against one kind of label).
    """
    of_variant = {name: _against(judged, test) for name, judged in predicted.groupby("variant")}
    rows = []
    for variant, random in control.items():
        for other in (ALL, random):
            for against, (true, answer, group, of_seed) in of_variant[variant].items():
                answer_b = of_variant[other][against][1]
                found = intervals.paired_test(true, answer, answer_b, group, seed=seed)
                by_seed = [evaluation.by_fold(true, one, of_seed) for one in (answer, answer_b)]
                row = {"variant": variant, "against": against, "compared_with": other, "difference": found.difference}
                row |= {"low": found.low, "high": found.high, "sd_of_seeds": (by_seed[0] - by_seed[1]).std(ddof=1)}
                rows.append(row | {"p_value": found.p_value})
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby("against")["p_value"].transform(lambda p: evaluation.holm(p.to_numpy()))
    return table


def summary(
    kept: pd.DataFrame, quality: pd.DataFrame, found: pd.DataFrame, tested: pd.DataFrame, *, label: np.ndarray
) -> pd.DataFrame:
    """One row a variant and a control: what it learned from, how well it finds wrong labels, how well it answers.

    Parameters
    ----------
    kept, quality, found, tested : of `variants`, `detection.quality`, `results` and `tests`
    label : int [len(kept)]

    Returns
    -------
    DataFrame: variant, protocol, learned_from (stills), of `detection.METRICS` for all classes precision, recall, auc
    and average_precision; true_accuracy and given_accuracy, each with _low and _high; difference (in accuracy against
    the true labels, from the random control) with its ends and p_random, difference_from_all likewise and p_all
    (Holm-corrected).
    """
    learned = kept.sum()
    for name, control in controls(kept, label).items():
        learned[control] = learned[name]
    table = pd.DataFrame({"variant": found["variant"].unique(), "protocol": "nested"})
    table["learned_from"] = table["variant"].map(learned)
    of_all = quality[quality["class"] == ALL_CLASSES].set_index("filter")
    for column in (f"{metric}{end}" for metric in METRICS[1:] for end in ("", "_low", "_high")):
        table[column] = table["variant"].map(of_all[column])
    for against in ("true", "given"):
        rows = found[(found["against"] == against) & (found["metric"] == "accuracy")].set_index("variant")
        for end, column in {"": "value", "_low": "low", "_high": "high"}.items():
            table[f"{against}_accuracy{end}"] = table["variant"].map(rows[column])
    for short, against_all in {"random": False, "all": True}.items():
        chosen = (tested["against"] == "true") & ((tested["compared_with"] == ALL) == against_all)
        rows, name = tested[chosen].set_index("variant"), "difference_from_all" if against_all else "difference"
        for end, column in {"": "difference", "_low": "low", "_high": "high"}.items():
            table[f"{name}{end}"] = table["variant"].map(rows[column])
        table[f"p_{short}"] = table["variant"].map(rows["p_holm"])
    return table


def verdict(tested: pd.DataFrame) -> str:
    """What the tests against the true labels say: every filter beside its random control and beside all stills."""
    sentences = []
    chosen = tested[(tested["against"] == "true") & (tested["variant"] != ORACLE)]
    for one in chosen[chosen["p_holm"] < 0.05].itertuples():
        than = "all stills" if one.compared_with == ALL else "as many of each class at random"
        sentences.append(
            f"{one.variant} is {'better' if one.difference > 0 else 'worse'} than {than}: {100 * one.difference:+.1f} "
            f"points [{100 * one.low:+.1f}, {100 * one.high:+.1f}], p {one.p_holm:.4f} (Holm)."
        )
    if not sentences:
        return "No filter differs from all stills, or from as many at random, beyond chance."
    if chosen["sd_of_seeds"].isna().all():
        sentences.append("One seed: the luck of training is in none of these intervals.")
    return " ".join(sentences)
