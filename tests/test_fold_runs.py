"""`fold_inputs` and `fold_outputs`: what a training run leaves, and which of it another run may read."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from emolib import (
    action_units,
    experiment,
    fold_inputs,
    fold_outputs,
    fold_results,
    folds,
    labels,
    models,
    normals,
    posteriors,
    runs,
    training,
)
from emolib.judged import Judged

CLASSES = labels.names("valence3")
NETWORK = {"model": "baseline", "classes": CLASSES, "model_options": {"second_dropout": 0.5}}
PARAMS = {
    "filter": "percentile",
    "filter_options": {"percentile": 50.0},
    "judged_by": "posterior_study/main",
    "within": "",
    "matched_to": "",
    "filtered_test": False,
    "protocol": "nested",
    "n_folds": 2,
    "validation_subjects_share": 0.3,
    "named_folds": "",
    "seed": 1,
    "start_from": "pretraining/main",
}
IN_CHAIN = {k: v for k, v in PARAMS.items() if k != "judged_by"} | {
    "previous": "frame_filtering/p50",
    "inner_folds": 0,
    "inner_start_from": "pretraining/main",
    "start_from": "previous",
}


@pytest.fixture
def frames():
    """6 subjects x 3 classes x 4 frames; the last frame of each video has no face."""
    rows = [(f"{s}-{k}", f"s{s}", k, f, f < 3, f / 3) for s in range(6) for k in range(3) for f in range(4)]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "frame", "face_ok", "true_intensity"])
    return table.assign(sample=np.arange(len(table)) + 50)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "emolib"\n')
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    for name in ("EMOLIB_DATA", "EMOLIB_REPORTS"):
        monkeypatch.delenv(name, raising=False)


def begin(name, params=PARAMS, *, upstream=()):
    stage, variant = name.split("/")
    return runs.begin(stage=stage, variant=variant, study="mini", params=dict(params), upstream=list(upstream))


def make(name, frames, params=PARAMS, *, parts=None, previous=None, upstream=()):
    """A finished training run of untrained networks."""
    run = begin(name, params, upstream=[*upstream, *([previous] if previous else [])])
    parts = parts or fold_inputs.make_folds(frames, params)
    values = np.random.default_rng(0).dirichlet(np.ones(3), len(frames)).astype(np.float32)
    judgement = Judged("posterior", [values[part.train] for part in parts])
    selections = experiment.select_folds(
        params["filter"], parts, frames, judgement, options=params["filter_options"], seed=0
    )
    fold_outputs.save_selections(run, parts, frames, selections)
    trained = []
    for part in parts:
        torch.manual_seed(part.fold)
        state = models.build("baseline", 3, second_dropout=0.5).state_dict()
        trained.append(training.Trained(f"fold{part.fold}", state, 1, pd.DataFrame({"seconds": [1.0, 0.5]})))
    images = np.random.default_rng(0).integers(0, 256, (len(frames), 48, 48), dtype=np.uint8)
    predictions = fold_results.predict_folds(parts, trained, images, None, frames, step=2, **NETWORK)
    results = fold_outputs.save_results(run, parts, predictions, frames, classes=CLASSES, seed=0)
    if previous:
        kept_before = fold_inputs.kept_by(run, previous, parts, frames)
        fold_outputs.save_stages(run, run.upstream(previous), [one.keep for one in selections], kept_before)
    fold_outputs.save_weights(run, trained, model="baseline", classes=CLASSES, options=NETWORK["model_options"])
    quality = experiment.quality_against_truth(parts, frames, selections, shows_label_at=0.5)
    run.finish(metrics=fold_outputs.metrics(trained, selections, judgement, quality=quality, results=results))
    return runs.load("mini", *name.split("/")), selections, predictions


# ---- parameters


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (PARAMS, ["preprocessing/videos", "pretraining/main", "posterior_study/main"]),
        (PARAMS | {"filter": "none", "start_from": ""}, ["preprocessing/videos"]),
        (
            PARAMS | {"filter": "random", "matched_to": "a/b", "within": "c/d"},
            ["preprocessing/videos", "pretraining/main", "c/d", "a/b"],
        ),
        (IN_CHAIN, ["preprocessing/videos", "frame_filtering/p50"]),
        (
            IN_CHAIN | {"inner_folds": 3, "start_from": "pretraining/x"},
            ["preprocessing/videos", "pretraining/x", "frame_filtering/p50", "pretraining/main"],
        ),
        (IN_CHAIN | {"within": "frame_filtering/p50"}, ["preprocessing/videos", "frame_filtering/p50"]),
    ],
)
def test_a_run_needs_only_the_runs_that_it_reads(params, expected):
    assert fold_inputs.upstream_of(params) == expected


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (PARAMS | {"filter": "quartile"}, "unknown filter 'quartile'"),
        (PARAMS | {"judged_by": ""}, "judges frames by their posterior: name a run in judged_by"),
        (PARAMS | {"matched_to": "a/b"}, "matched_to is for filter 'random'"),
        (PARAMS | {"filter": "random", "matched_to": "a/b", "filtered_test": True}, "filtered_test = True"),
        (IN_CHAIN | {"filter": "au45"}, "judges action units"),
        (IN_CHAIN | {"inner_folds": 1}, "inner_folds = 1"),
        (IN_CHAIN | {"inner_folds": 2, "filter": "none"}, "which reads nothing"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused_before_anything_is_computed(params, message):
    with pytest.raises(ValueError, match=message):
        fold_inputs.upstream_of(params)


def test_the_recipe_is_what_the_parameters_name():
    recipe = fold_inputs.recipe({"epochs": 3, "patience": 2, "weight_decay": 0.5, "study": "x"})
    assert recipe == training.Recipe(epochs=3, patience=2, weight_decay=0.5)


# ---- what a run leaves


def test_a_run_leaves_the_same_tables_whatever_the_stage(project, frames):
    done, selections, predictions = make("frame_filtering/p50", frames)
    assert {file.name for file in done.folder.glob("*.parquet")} == {
        f"{name}.parquet"
        for name in (
            *("frame_list", "account", "predictions", "validation", "votes", "validation_votes"),
            *("training_means", "results"),
        )
    }
    tested = posteriors.read(done.folder / "predictions.parquet", classes=CLASSES)
    assert sorted(tested["sample"]) == sorted(frames["sample"][frames["face_ok"]])
    chosen = posteriors.read(done.folder / "validation.parquet", classes=CLASSES)
    assert chosen["subset"].eq("validation").all()
    assert set(frames.set_index("sample").loc[chosen["sample"], "frame"]) == {0, 2}
    votes, means = done.table("validation_votes"), done.table("training_means")
    parts = fold_inputs.make_folds(frames, PARAMS)
    for part in parts:
        people = set(votes.loc[votes["fold"] == part.fold, "subject"])
        assert people == set(frames["subject"].iloc[part.validation])
    assert means["fold"].tolist() == [0, 1] and np.allclose(means.filter(like="p_").sum(axis=1), 1)
    assert done.metrics["train_seconds"] == [1.5, 1.5] and done.metrics["best_epochs"] == [1, 1]
    assert done.metrics["kept_frames"] == sum(one.keep.sum() for one in selections)
    assert done.metrics["out_of_sample"] is None and len(done.metrics["filter_quality"]) == 1


def test_under_reference_the_validation_frames_are_test_frames_with_the_same_posteriors(project, frames):
    _, _, predictions = make("frame_filtering/reference", frames, PARAMS | {"protocol": "reference"})
    tested, chosen = predictions.test.set_index("sample"), predictions.validation.set_index("sample")
    columns = posteriors.posterior_columns(CLASSES)
    assert len(chosen) == 2 * frames["video"].nunique()
    assert (tested.loc[chosen.index, columns] == chosen[columns]).all(axis=None)


def test_results_on_filtered_test_frames_count_these_alone(project, frames):
    _, _, predictions = make("frame_filtering/p50", frames)
    run = begin("frame_filtering/other")
    parts = fold_inputs.make_folds(frames, PARAMS)
    kept = frames["sample"].to_numpy()[(frames["frame"] == 1) & (frames["video"] != "0-0")]
    fold_outputs.save_filtered_test(run, parts, predictions, frames, kept, classes=CLASSES, seed=0)
    results = run.table("results_filtered_test").set_index("metric")
    assert results.loc["frame accuracy", "n"] == 17 and results.loc["video auc accuracy", "n"] == 18


# ---- what another run may read of it


def test_kept_frames_and_models_are_read_back_fold_by_fold(project, frames):
    done, selections, _ = make("frame_filtering/p50", frames)
    run = begin("iterative_stages/s1", IN_CHAIN, upstream=["frame_filtering/p50"])
    parts = fold_inputs.make_folds(frames, IN_CHAIN)
    kept = fold_inputs.kept_by(run, "frame_filtering/p50", parts, frames)
    assert all((a == b.keep).all() for a, b in zip(kept, selections, strict=True))
    assert fold_inputs.kept_by(run, "", parts, frames) is None
    weights = fold_inputs.fold_weights(done, parts, classes=CLASSES)
    assert [one.options for one in weights] == [{"second_dropout": 0.5}] * 2
    states = fold_inputs.start_states(run, "previous", parts, previous=weights)
    assert states[1] is weights[1].state and fold_inputs.start_states(run, "", parts) is None
    with pytest.raises(ValueError, match="models of .* found"):
        fold_inputs.fold_weights(done, parts, classes=CLASSES[::-1])
    values = [np.zeros((len(part.train), 3), dtype=np.float32) for part in parts]
    judged = fold_inputs.judged_by_previous(run, values, parts, frames)
    assert judged.out_of_sample is False
    predictions = done.table("predictions").set_index("sample")
    seen = frames["face_ok"].to_numpy()[parts[1].test]
    expected = predictions.loc[frames["sample"].iloc[parts[1].test[seen]]].filter(like="p_")
    np.testing.assert_array_equal(judged.test[1][seen], expected)
    assert np.isnan(judged.test[1][~seen]).all()


@pytest.mark.parametrize(
    ("different", "named"),
    [
        ({"protocol": "reference"}, "protocol 'nested' there, 'reference' here"),
        ({"n_folds": 3}, "n_folds 2 there, 3 here"),
        ({"seed": 4}, "seed 1 there, 4 here"),
        ({"validation_subjects_share": 0.6}, "validation_subjects_share 0.3 there, 0.6 here"),
    ],
)
def test_a_run_with_other_folds_is_refused(project, frames, different, named):
    make("frame_filtering/p50", frames)
    params = IN_CHAIN | different
    run = begin("iterative_stages/s1", params, upstream=["frame_filtering/p50"])
    parts = fold_inputs.make_folds(frames, params)
    with pytest.raises(ValueError, match=f"other people in training, validation or test.*{named}"):
        fold_inputs.kept_by(run, "frame_filtering/p50", parts, frames)


def test_a_run_that_was_chosen_on_the_people_who_are_tested_here_is_refused(project, frames):
    """The same training people, but validation and test exchanged."""
    parts = fold_inputs.make_folds(frames, PARAMS)
    swapped = [dataclasses.replace(part, validation=part.test, test=part.validation) for part in parts]
    make("frame_filtering/p50", frames, parts=swapped)
    run = begin("iterative_stages/s1", IN_CHAIN, upstream=["frame_filtering/p50"])
    with pytest.raises(ValueError, match="other people in training, validation or test of fold 0"):
        fold_inputs.kept_by(run, "frame_filtering/p50", parts, frames)


def test_a_run_with_more_folds_is_refused(project, frames):
    parts = folds.make_folds(frames, n_folds=3, protocol="nested", seed=1, validation_subjects_share=0.3)
    make("frame_filtering/p50", frames, parts=parts)
    run = begin("iterative_stages/s1", IN_CHAIN, upstream=["frame_filtering/p50"])
    with pytest.raises(ValueError, match=r"has folds \[2\] which this run has not"):
        fold_inputs.kept_by(run, "frame_filtering/p50", parts[:2], frames)


def test_a_chain_keeps_its_history(project, frames):
    make("frame_filtering/all", frames, PARAMS | {"filter": "none", "filter_options": {}})
    make("iterative_stages/s1", frames, IN_CHAIN, previous="frame_filtering/all")
    params = IN_CHAIN | {"filter_options": {"percentile": 80.0}}
    done, _, _ = make("iterative_stages/s2", frames, params, previous="iterative_stages/s1")
    history = done.table("stages")
    assert history["run"].tolist() == ["frame_filtering/all", "iterative_stages/s1", "iterative_stages/s2"]
    assert history["stage"].tolist() == [0, 1, 2] and np.isnan(history["jaccard"][0])
    # each keeps the best of what the one before kept
    kept = history["kept"].tolist()
    assert history["jaccard"].tolist()[1:] == pytest.approx([kept[1] / kept[0], kept[2] / kept[1]])


# ---- judges of notebooks 03 and 06


def judging_run(name, *, metrics, posterior=None, units=None, fitted=None):
    run = begin(name, {})
    if posterior is not None:
        posteriors.write(posterior, run.folder / "posteriors.parquet")
    if units is not None:
        run.save_table("action_units", units)
    if fitted is not None:
        normals.write(fitted, run.folder / "normals.parquet")
    run.finish(metrics=metrics)


def test_a_filter_of_posteriors_is_judged_by_the_posterior_study(project, frames):
    seen = frames[frames["face_ok"]]
    values = np.random.default_rng(0).dirichlet(np.ones(3), len(seen))
    table = posteriors.table(seen["sample"].to_numpy(), values, classes=CLASSES, fold=-1, subset="test")
    metrics = {"label_space": "valence3", "out_of_sample": True}
    judging_run("posterior_study/main", metrics=metrics, posterior=table)
    run = begin("frame_filtering/p50", upstream=["posterior_study/main"])
    parts = fold_inputs.make_folds(frames, PARAMS)
    judged = fold_inputs.read_judged(run, parts, frames, label_space="valence3")
    assert judged.reads == "posterior" and judged.out_of_sample is True and len(judged.train) == 2
    at = frames["face_ok"].to_numpy()[parts[1].train]
    expected = pd.DataFrame(values, index=seen["sample"]).loc[frames["sample"].iloc[parts[1].train[at]]]
    np.testing.assert_allclose(judged.train[1][at], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "out_of_sample"), [("mvn", True, True), ("mvn", False, False), ("au45", False, None)]
)
def test_a_filter_of_action_units_is_judged_by_given_normals_or_by_the_folds_own(
    project, frames, name, given, out_of_sample
):
    values = np.random.default_rng(0).uniform(0, 5, (len(frames), 17))
    units = pd.DataFrame(values, columns=list(action_units.UNITS)).assign(sample=frames["sample"])
    fitted = normals.fit(values, frames["label"].to_numpy(), classes=CLASSES) if given else None
    judging_run("au_gmm_filtering/main", metrics={"out_of_sample": True}, units=units, fitted=fitted)
    params = PARAMS | {"filter": name, "judged_by": "au_gmm_filtering/main"}
    run = begin("frame_filtering/au", params, upstream=["au_gmm_filtering/main"])
    parts = fold_inputs.make_folds(frames, params)
    judged = fold_inputs.read_judged(run, parts, frames, label_space="valence3")
    assert judged.reads == "action_units" and judged.out_of_sample is out_of_sample
    assert np.allclose(judged.normals[0].mean, judged.normals[1].mean) == given
    if given:
        with pytest.raises(ValueError, match="normals of"):
            fold_inputs.read_judged(run, parts, frames, label_space="affectnet7")
