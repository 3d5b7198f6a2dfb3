"""What a study's YAML may say: variants from grids, chains and seeds, nested parameters, stages of a base."""

from __future__ import annotations

import pytest
from mini_study import STUDY, make_project, write_notebook, write_study

from emolib import study, study_file


def names_and_params(given):
    return {one.name: one.params for one in study_file.variants("x.yaml", "stage", given)}


def test_a_grid_sets_parameters_inside_a_mapping_and_is_named_by_their_last_part():
    grid = {
        "name": "p{percentile:g}",
        "params": {"filter": "percentile"},
        "values": {"options.percentile": [2.5, 10.0]},
    }
    found = names_and_params({"grids": [grid]})
    assert found == {
        "p2.5": {"filter": "percentile", "options.percentile": 2.5},
        "p10": {"filter": "percentile", "options.percentile": 10.0},
    }


def test_a_run_in_a_name_is_called_by_its_variant():
    found = names_and_params({"grids": [{"name": "random_{of}", "values": {"of": ["filtering/p10", "filtering/p20"]}}]})
    assert list(found) == ["random_p10", "random_p20"]


def test_each_link_of_a_chain_names_the_one_before_it():
    chain = {"name": "tlf_{q:g}", "first": "filtering/all", "values": {"options.q": [70.0, 60.0, 50.0]}}
    previous = {name: params["previous"] for name, params in names_and_params({"chains": [chain]}).items()}
    assert previous == {"tlf_70": "filtering/all", "tlf_60": "stage/tlf_70", "tlf_50": "stage/tlf_60"}


def test_seeds_repeat_every_variant_and_the_first_keeps_its_name():
    found = study_file.variants("x.yaml", "stage", {"variants": {"a": {}, "b": {"k": 1}}, "seeds": [5, 6]})
    assert [(one.name, one.params["seed"], one.seed) for one in found] == [
        ("a", 5, 5), ("b", 5, 5), ("a_s6", 6, 6), ("b_s6", 6, 6)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grids": [{"name": "p", "values": {"a": [1, 2]}}]}, "'p' is there already"),
        ({"grids": [{"name": "{b}", "values": {"a": [1]}}]}, "names 'b'"),
        ({"grids": [{"name": "{a}", "values": {}}]}, "a parameter with a list"),
        ({"grids": [{"name": "{a}", "values": {"x.a": [1], "y.a": [1]}}]}, "two keys end alike"),
        ({"chains": [{"name": "{a}", "first": "all", "values": {"a": [1]}}]}, "'stage/variant' is expected"),
        ({"chains": [{"name": "{a}", "first": "s/all", "values": {"a": [1], "b": [1, 2]}}]}, "one length"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": ["1"]}, "different whole numbers"),
    ],
)
def test_what_makes_no_variants_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        study_file.variants("x.yaml", "stage", given)


@pytest.mark.parametrize(
    ("layers", "merged"),
    [
        ([{"a": 1}, {"a": 2, "b": 3}], {"a": 2, "b": 3}),
        ([{"o": {"x": 1}}, {"o.y": 2}], {"o": {"x": 1, "y": 2}}),
        ([{"o": {"x": 1}}, {"o": {"z": 3}}], {"o": {"z": 3}}),
        ([{"o": {"x": 1}}, {"o.y": 2, "o": {}}], {"o": {"y": 2}}),
    ],
)
def test_later_layers_win_and_dotted_keys_reach_into_a_mapping(layers, merged):
    assert study_file.merge("here", *layers) == merged


def test_merging_leaves_the_layers_as_they_are():
    shared = {"o": {"x": 1}}
    study_file.merge("here", shared, {"o.x": 2})
    assert shared == {"o": {"x": 1}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def test_a_stage_of_the_base_named_again_inherits_what_it_does_not_say(project):
    content = {**STUDY, "stages": {**STUDY["stages"]}}
    content["stages"]["scale"] = {**STUDY["stages"]["scale"], "params": {"protocol": "reference"}, "threads": 2}
    write_study(project, content)
    (project / "params" / "second.yaml").write_text(
        "study: second\nbase: mini\nstages:\n  scale:\n    variants: {x9: {factor: 9.0}}\n", "utf-8"
    )
    (job,) = [job for job in study.load(project / "params" / "second.yaml").jobs if job.study == "second"]
    assert (job.name, job.notebook.stem, job.threads, job.upstream) == ("scale/x9", "b", 2, ("draw/main",))
    assert job.params["protocol"] == "reference" and job.params["factor"] == 9.0


def test_a_new_stage_without_a_notebook_is_refused(project):
    (project / "params" / "second.yaml").write_text(
        "study: second\nbase: mini\nstages:\n  other: {params: {}}\n", "utf-8"
    )
    with pytest.raises(ValueError, match="stages.other: key 'notebook' is missing"):
        study.load(project / "params" / "second.yaml")


def test_compared_variants_are_needs_by_themselves_in_all_their_seeds(project):
    write_notebook(
        project / "notebooks" / "d.ipynb",
        ["#", 'study = ""\nbase_study = ""\nvariant = ""\ncompared = []\nseeds = []', "pass"],
    )
    (project / "params" / "second.yaml").write_text(
        "study: second\nbase: mini\nstages:\n  scale:\n    variants: {x9: {factor: 9.0}, x9_s6: {factor: 9.5}}\n"
        "  judge: {notebook: d, params: {compared: [scale/x9], seeds: [5, 6]}}\n",
        "utf-8",
    )
    assert study.load(project / "params" / "second.yaml").select("judge")[0].upstream == ("scale/x9", "scale/x9_s6")
    text = (project / "params" / "second.yaml").read_text("utf-8").replace("[scale/x9]", "[scale/x8]")
    (project / "params" / "second.yaml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="compared: 'scale/x8' is none of the variants"):
        study.load(project / "params" / "second.yaml")
