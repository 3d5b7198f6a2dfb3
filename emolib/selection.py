"""Choosing the strength of a filter honestly, and how much of a gain is the choice itself.

A paper runs many percentiles and reports the best, judged on the test people: some of that gain is the choosing. Here
each fold of protocol `nested` chooses by its own *validation* people, and its test people are answered by the model
chosen (``percentile_auto``, ``threshold_auto``), which is how the method would work for people never seen.

Cawley and Talbot (2010), On over-fitting in model selection and subsequent selection bias in performance evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from emolib import intervals
from emolib.comparison import with_bounds
from emolib.variants import STRENGTHS, Variant, baselines, control_of

PROTOCOLS = ("nested", "reference")


def pool(variants: Mapping[str, Variant], *, kind: str, all_frames: Variant) -> list[Variant]:
    """What may be chosen: all frames, and the variants of filter `kind` that differ from it by which frames alone.

    The judge and the filter's other options may differ: they are chosen then, too.
    """
    alike = [one for one in variants.values() if one.filter == kind and one.setting == all_frames.setting]
    return [all_frames, *(one for one in alike if np.isfinite(one.strength))]


def auto(variants: Mapping[str, Variant], *, baseline: str, vote: str) -> tuple[dict[str, Variant], pd.DataFrame]:
    """The variants ``percentile_auto`` and ``threshold_auto`` of protocol nested, where there is a choice.

    With several seeds each seed chooses by its own models. Where every variant chosen has a random control, the
    controls are assembled in the same way, as control of the new variant (``percentile_auto_random``).

    Returns
    -------
    variants : by name; none without a variant of all frames under `nested`.
    chosen : a row a filter, seed and fold, see `choose`.
    """
    all_frames = baselines(variants, baseline=baseline).get("nested")
    found, tables = {}, []
    for kind in STRENGTHS if all_frames is not None else ():
        candidates = pool(variants, kind=kind, all_frames=all_frames)
        if len(candidates) == 1:
            continue
        chosen = choose(candidates, vote=vote)
        tables.append(chosen.assign(filter=f"{kind}_auto", protocol="nested"))
        made = assemble(candidates, chosen["number"], name=f"{kind}_auto")
        found[made.name] = made
        controls = [candidates[0], *(control_of(one, variants) for one in candidates[1:])]
        if all(controls[number] is not None for number in chosen["number"]):
            control = assemble(controls, chosen["number"], name=f"{kind}_auto_random")
            matched = {**control.params, "filter": "random", "matched_to": made.address}
            found[control.name] = replace(control, params=matched)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return found, table.drop(columns="number", errors="ignore")


def choose(candidates: Sequence[Variant], *, vote: str) -> pd.DataFrame:
    """For each seed and fold the candidate that answers most of the fold's validation videos right by `vote`.

    Of equal ones that which drops the fewest frames; the first candidate, all frames, drops none.

    Returns
    -------
    DataFrame: seed, fold, chosen (name), strength, number (of the candidate), validation_accuracy,
    validation_accuracy_of_all_frames, validation_videos, kept_share (of the fold's frames).

    Raises
    ------
    ValueError
        The candidates have other seeds, folds, or validation videos.
    """
    rows = []
    for s, seed in enumerate(candidates[0].seeds):
        _check_alike(candidates, s)
        tables = [one.validation_votes[s] for one in candidates]
        right = pd.concat([_right(table, vote) for table in tables], axis=1, ignore_index=True).groupby(level="fold")
        hits, videos = right.sum(), right.size()
        kept = pd.concat([_kept(one, s) for one in candidates], axis=1, ignore_index=True)
        for fold in hits.index:
            number = max(hits.columns, key=lambda k, fold=fold: (hits.loc[fold, k], kept.loc[fold, k], -k))
            row = {"seed": seed, "fold": fold, "chosen": candidates[number].name}
            row |= {"strength": candidates[number].strength, "number": number}
            row |= {"validation_accuracy": hits.loc[fold, number] / videos[fold]}
            row |= {"validation_accuracy_of_all_frames": hits.loc[fold, 0] / videos[fold]}
            rows.append(row | {"validation_videos": videos[fold], "kept_share": kept.loc[fold, number]})
    return pd.DataFrame(rows)


def _check_alike(candidates: Sequence[Variant], s: int) -> None:
    first = candidates[0]
    for one in candidates[1:]:
        if one.seeds != first.seeds:
            raise ValueError(f"{one.name!r} has seeds {one.seeds}, {first.name!r} {first.seeds}: the same are needed")
        for what in ("votes", "validation_votes"):
            if not _videos(getattr(one, what)[s]).equals(_videos(getattr(first, what)[s])):
                where = f"{what}, seed {one.seeds[s]}"
                raise ValueError(f"{one.name!r} has other videos in its folds than {first.name!r} ({where})")


def _videos(votes: pd.DataFrame) -> pd.DataFrame:
    return votes[["video", "fold"]].sort_values(["video", "fold"], ignore_index=True)


def _right(votes: pd.DataFrame, vote: str) -> pd.Series:
    indexed = votes.set_index(["fold", "video"])
    return indexed[f"predicted_{vote}"] == indexed["label"]


def _kept(one: Variant, s: int) -> pd.Series:
    """Share of the fold's training frames that were kept, by fold."""
    sums = one.accounts[s].groupby("fold")[["kept", "frames"]].sum()
    return sums["kept"] / sums["frames"]


def assemble(candidates: Sequence[Variant], numbers: Sequence[int], *, name: str) -> Variant:
    """The variant whose fold k of seed s answers as candidate `numbers[s * folds + k]` does.

    Parameters
    ----------
    candidates : None is allowed for those that are not chosen.
    numbers : of the candidates, by seed, then rising fold.
    """
    first = candidates[0]
    of_seeds = np.reshape(np.asarray(numbers), (len(first.seeds), -1))
    parts = {"votes": [], "validation_votes": [], "accounts": []}
    frame_answers = []
    for s, of_folds in enumerate(of_seeds):
        folds = dict(zip(sorted(first.votes[s]["fold"].unique()), of_folds, strict=True))
        for what, tables in parts.items():
            of_run = {k: getattr(candidates[k], what)[s] for k in of_folds}
            joined = pd.concat([of_run[k][of_run[k]["fold"] == fold] for fold, k in folds.items()])
            in_order = joined.sort_values("video", kind="stable") if "video" in joined else joined
            tables.append(in_order.reset_index(drop=True))
        number = first.frames["video"].map(first.votes[s].set_index("video")["fold"]).map(folds).to_numpy()
        answers = first.frame_answers[s].copy()
        for k in set(of_folds.tolist()):
            answers[number == k] = candidates[k].frame_answers[s, number == k]
        frame_answers.append(answers)
    used = [candidates[k].out_of_sample for k in set(of_seeds.ravel().tolist()) if candidates[k].filter != "none"]
    return replace(
        first,
        name=name,
        address=f"selection/{name}",
        params={**first.params, "filter": name, "filter_options": {}, "matched_to": ""},
        **{what: tuple(tables) for what, tables in parts.items()},
        frame_answers=np.stack(frame_answers),
        out_of_sample=False if False in used else used[0] if used else None,
        quality={},
    )


def optimism(
    variants: Mapping[str, Variant], autos: Mapping[str, Variant], *, baseline: str, vote: str, seed: int
) -> pd.DataFrame:
    """How much of a reported gain is selection: the best variant by its *test* accuracy against the nested choice.

    Gains are over all frames under the same protocol. The intervals are over subjects, for the best as it was found.

    Returns
    -------
    DataFrame, a row a filter and protocol: filter, protocol, candidates (number), best_on_test, and with _low and
    _high: difference_best, difference_auto, difference_optimism (the first minus the second). Empty without an auto.
    """
    starts, rows = baselines(variants, baseline=baseline), []
    for kind in STRENGTHS:
        if f"{kind}_auto" not in autos:
            continue
        chosen = autos[f"{kind}_auto"]
        gain_auto = chosen.right(vote) - starts["nested"].right(vote)
        for protocol in [name for name in PROTOCOLS if name in starts]:
            candidates = pool(variants, kind=kind, all_frames=starts[protocol])
            best = max(candidates, key=lambda one: (one.right(vote).mean(), one.kept_share))
            gain = best.right(vote) - starts[protocol].right(vote)
            row = {"filter": kind, "protocol": protocol, "candidates": len(candidates), "best_on_test": best.name}
            for name, values in (("best", gain), ("auto", gain_auto), ("optimism", gain - gain_auto)):
                interval = intervals.subject_mean(values, best.column("subject"), seed=seed)
                row |= with_bounds(f"difference_{name}", interval)
            rows.append(row)
    return pd.DataFrame(rows)


def by_protocol(variants: Mapping[str, Variant], *, baseline: str, vote: str, seed: int) -> pd.DataFrame:
    """Nested and reference side by side, a row a variant that was run under both; random controls left out.

    The twins have the same name but for its part ``nested`` or ``reference`` (``p50`` and ``p50_reference``).

    Returns
    -------
    DataFrame: variant, protocol (both), and with _low and _high: nested, reference (video accuracies), difference
    (reference - nested); difference_from_all_nested and difference_from_all_reference (gains over all frames of the
    protocol), difference_of_gains: how much of the gain that `reference` reports `nested` does not confirm. Empty where
    no variant has a twin.
    """
    starts, twins, rows = baselines(variants, baseline=baseline), {}, []
    for one in (one for one in variants.values() if not one.is_control):
        key = "_".join(part for part in one.name.split("_") if part not in PROTOCOLS)
        if one.protocol in twins.setdefault(key, {}):
            other = twins[key][one.protocol].name
            raise ValueError(f"{one.name!r} and {other!r} are both {key!r} under {one.protocol}")
        twins[key][one.protocol] = one
    for key, pair in twins.items():
        if len(pair) < 2:
            continue
        subject = pair["nested"].column("subject")
        right = {name: pair[name].right(vote) for name in PROTOCOLS}
        gain = {name: right[name] - starts[name].right(vote) for name in PROTOCOLS if name in starts}
        values = {**right, "difference": right["reference"] - right["nested"]}
        values |= {f"difference_from_all_{name}": of for name, of in gain.items()}
        values |= {"difference_of_gains": gain["reference"] - gain["nested"]} if len(gain) == 2 else {}
        row = {"variant": key, "protocol": "nested, reference"}
        for name, of in values.items():
            row |= with_bounds(name, intervals.subject_mean(of, subject, seed=seed))
        rows.append(row)
    return pd.DataFrame(rows)
