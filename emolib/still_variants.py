"""Finished runs on stills (notebooks 02 and 13), read as variants: several seeds of one are one variant.

| a variant's parameters are of | |
|---|---|
| its evaluation | who stops and tests it: `OF_EVALUATION`; only variants that share it are compared with each other |
| its run | names and seed: `OF_RUN` |
| its learning | all others |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emolib import posteriors
from emolib.runs import Upstream

# With what notebook 02 takes where nothing is said; notebook 13 has `near_copies` and the last, and else evaluates so.
OF_EVALUATION = {
    "protocol": "nested",
    "keep_duplicates_together": True,
    "near_copies": False,
    "n_folds": 0,
    "used_splits": [],
    "max_pictures": 0,
    "split_seed": 2020,
}
OF_FOLDS = ("used_splits", "max_pictures")
OF_RUN = ("study", "base_study", "variant", "seed", "make_missing", "complete")


@dataclass(frozen=True)
class StillVariant:
    """One variant with all its seeds, as `still_outputs` left them.

    Attributes
    ----------
    name : as the tables call it.
    address : "stage/variant" of its first seed.
    params : of its first seed.
    seeds : S seeds.
    label_space : of labels and posteriors.
    stills : the N stills tested, by sample: sample, label, group.
    posterior : float32 [S, N, C].
    fold : int64 [S, N], whose model answered.
    metrics : what each seed's run reported.
    """

    name: str
    address: str
    params: Mapping
    seeds: tuple[int, ...]
    label_space: str
    stills: pd.DataFrame
    posterior: np.ndarray
    fold: np.ndarray
    metrics: tuple[Mapping, ...]

    @property
    def protocol(self) -> str:
        """``nested`` or ``reference``; a stage without the parameter stops on a validation part of its own."""
        return self.evaluation["protocol"]

    @property
    def evaluation(self) -> dict:
        """Parameters of who stops and tests it; of one split without `OF_FOLDS`, since `stills` says what it tested."""
        found = {name: self.params.get(name, default) for name, default in OF_EVALUATION.items()}
        found["used_splits"] = sorted(found["used_splits"])
        return found if found["n_folds"] else {name: found[name] for name in found if name not in OF_FOLDS}

    @property
    def learning(self) -> dict:
        """Parameters of how it learns, apart from who tests it; of one split with `OF_FOLDS`: what it learned from."""
        learned_from = {} if self.evaluation["n_folds"] else {name: self.params.get(name) or None for name in OF_FOLDS}
        own = {name: value for name, value in self.params.items() if name not in (*OF_EVALUATION, *OF_RUN)}
        return own | learned_from

    @property
    def copies(self) -> str:
        """Where copies of a tested still may be: "kept together" with it (or also near ones), or "ANYWHERE"."""
        if not self.evaluation["keep_duplicates_together"]:
            return "ANYWHERE"
        return "near ones, too, kept together" if self.evaluation["near_copies"] else "kept together"

    @property
    def label(self) -> np.ndarray:
        """Class of each still, int64 [N]."""
        return self.stills["label"].to_numpy(dtype=np.int64)

    @property
    def group(self) -> np.ndarray:
        """What is resampled together, [N]."""
        return self.stills["group"].to_numpy()

    @property
    def answers(self) -> np.ndarray:
        """Class of the largest posterior, int64 [S, N]."""
        return self.posterior.argmax(axis=2)

    def of(self, sample: np.ndarray) -> np.ndarray:
        """Positions of samples among its stills, int64 [n]; -1 of one that it was not tested on."""
        return pd.Index(self.stills["sample"]).get_indexer(sample)


def collect(upstream: Mapping[str, Sequence[Upstream]], *, classes: Sequence[str]) -> dict[str, StillVariant]:
    """Read the finished runs of each variant, one a seed.

    Parameters
    ----------
    upstream : name of a variant -> its runs.
    classes : of the label space that all of them must have.

    Raises
    ------
    ValueError
        Variants have different label spaces or no still in common; the seeds of one were tested on different stills or
        in another way; or two variants disagree about the label of a still.
    """
    found = {name: _variant(name, runs, classes) for name, runs in upstream.items()}
    first = next(iter(found.values()))
    for one in found.values():
        if one.label_space != first.label_space:
            raise ValueError(
                f"variant {one.name!r} answers in {one.label_space!r}, {first.name!r} in {first.label_space!r}: "
                "compare variants of one label space"
            )
        at = first.of(one.stills["sample"].to_numpy())
        if not (at >= 0).any():
            raise ValueError(f"variants {first.name!r} and {one.name!r} were tested on no still in common")
        if (one.label[at >= 0] != first.label[at[at >= 0]]).any():
            raise ValueError(f"{first.name!r} and {one.name!r} give a still different labels: run one of them again")
    return found


def _variant(name: str, runs: Sequence[Upstream], classes: Sequence[str]) -> StillVariant:
    params, space = runs[0].params, runs[0].metrics["label_space"]
    stills, posterior, fold = None, [], []
    for run in runs:
        for key in OF_EVALUATION:
            if run.params.get(key) != params.get(key):
                raise ValueError(
                    f"variant {name!r}: {key} = {run.params.get(key)!r} in one seed, {params.get(key)!r} in another"
                )
        table = posteriors.read(run.folder / "predictions.parquet", classes=classes).sort_values("sample")
        tested = run.table("stills").set_index("sample").loc[table["sample"]].reset_index()
        if stills is not None and not tested[["sample", "label"]].equals(stills[["sample", "label"]]):
            raise ValueError(f"variant {name!r}: its seeds were tested on different stills; run them again")
        stills = tested if stills is None else stills
        posterior.append(table[posteriors.posterior_columns(classes)].to_numpy(dtype=np.float32))
        fold.append(table["fold"].to_numpy(dtype=np.int64))
    return StillVariant(
        name=name,
        address=f"{runs[0].info['stage']}/{runs[0].info['variant']}",
        params=params,
        seeds=tuple(run.params["seed"] for run in runs),
        label_space=space,
        stills=stills,
        posterior=np.stack(posterior),
        fold=np.stack(fold),
        metrics=tuple(run.metrics for run in runs),
    )


def baseline_of(one: StillVariant, variants: Mapping[str, StillVariant], *, baseline: str) -> StillVariant | None:
    """What `one` is compared with: the variant that learns as `baseline` does and is evaluated as `one` is.

    None for a baseline itself, and where there is none.

    Raises
    ------
    ValueError
        `baseline` is not among the variants.
    """
    if baseline not in variants:
        raise ValueError(f"baseline {baseline!r} is not among the variants compared: {', '.join(variants)}")
    named = variants[baseline]
    if one.evaluation == named.evaluation:
        return None if one is named else named
    alike = [v for v in variants.values() if v.evaluation == one.evaluation and v.learning == named.learning]
    return alike[0] if alike and alike[0] is not one else None


def common(variants: Mapping[str, StillVariant]) -> np.ndarray:
    """Samples that all variants were tested on, int64 [n], rising."""
    tested = [one.stills["sample"].to_numpy() for one in variants.values()]
    shared = tested[0]
    for other in tested[1:]:
        shared = np.intersect1d(shared, other)
    return np.sort(shared)


def joint(found: Mapping[str, StillVariant], ensembles: Mapping[str, Sequence[str]]) -> dict[str, StillVariant]:
    """The `ensemble` of each name in `ensembles`, of rows of `found`; ValueError where one names a row that is none."""
    for name, members in ensembles.items():
        if unknown := [member for member in members if member not in found]:
            raise ValueError(f"ensembles, {name!r}: {', '.join(unknown)} not compared; there are {', '.join(found)}")
    return {name: ensemble(name, [found[member] for member in members]) for name, members in ensembles.items()}


def ensemble(name: str, members: Sequence[StillVariant]) -> StillVariant:
    """One answer of several variants and all their seeds: the mean of their posteriors, on the stills that all tested.

    It is evaluated as its first member is, and learned (`learning`) as nobody else did.

    Raises
    ------
    ValueError
        Members are evaluated in different ways, or there are fewer than two models.
    """
    if others := [one.name for one in members if one.evaluation != members[0].evaluation]:
        raise ValueError(f"ensemble {name!r}: {', '.join(others)} evaluated in another way than {members[0].name}")
    if sum(len(one.seeds) for one in members) < 2:
        raise ValueError(f"ensemble {name!r}: two models or more are needed")
    sample = common({one.name: one for one in members})
    first = members[0]
    at = first.of(sample)
    posterior = np.concatenate([one.posterior[:, one.of(sample)] for one in members]).mean(axis=0, dtype=np.float64)
    of_all = [of_seed for one in members for of_seed in one.metrics]
    effort = {"n_parameters": sum(of_seed["n_parameters"] for of_seed in of_all)}
    effort |= {key: [value for one in of_all for value in one[key]] for key in ("best_epochs", "train_seconds")}
    return replace(
        first,
        name=name,
        address="",
        params={**first.evaluation, "members": [one.address for one in members]},
        seeds=first.seeds[:1],
        stills=first.stills.iloc[at].reset_index(drop=True),
        posterior=posterior[None].astype(np.float32),
        fold=first.fold[:1, at],
        metrics=(first.metrics[0] | effort,),
    )


def first_runs(opened: Mapping[str, Sequence[Upstream]]) -> dict[str, Upstream]:
    """Name -> the run of its first seed, with its protocol among its parameters, whichever stage made it."""
    first = {name: of_seeds[0] for name, of_seeds in opened.items()}
    return {
        name: replace(run, info={**run.info, "params": {"protocol": "nested"} | run.params})
        for name, run in first.items()
    }


def tested_or_validated(runs: Mapping[str, Upstream]) -> pd.DataFrame:
    """Every still that any of the runs tested or validated, once: sample, label, group."""
    return pd.concat([run.table("stills") for run in runs.values()]).drop_duplicates("sample", ignore_index=True)
