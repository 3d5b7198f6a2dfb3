"""A study's YAML -> jobs: which notebook runs with which flat parameters after which others.

A study file::

    study: demo
    title: ...
    description: the question, for the index
    seed: 2020
    stages:                                   # in order: a stage may need only stages above it
      corpus: {notebook: 00_corpus, params: {n_subjects: 8}}
      frame_filtering:
        notebook: 04_frame_filtering
        needs: [corpus, other/variant]        # a stage (all its variants) or stage/variant
        params: {epochs: 5}                   # shared by the stage's variants
        variants:
          all: {filter: none}
        grids:                                # a variant for each combination of values
          - name: "p{percentile}"
            params: {filter: percentile}
            values: {percentile: [10, 20]}
        threads: all                          # or a number; 1 where not given

A stage without variants and grids has the one variant ``main``. Every job gets ``study`` and ``variant``; ``seed`` and
``make_missing: false`` where its notebook has these parameters.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from emolib import notebooks
from emolib.roots import check_name, project_root, study_folder

STUDY_KEYS = {"study", "title", "description", "seed", "stages"}
STAGE_KEYS = {"notebook", "needs", "params", "variants", "grids", "threads"}
GRID_KEYS = {"name", "params", "values"}
IMPLIED = ("study", "variant", "make_missing")  # set by the expansion, so not allowed in a study's params
FLOAT_READ_AS_TEXT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class Job:
    """One execution of a notebook."""

    study: str
    stage: str
    variant: str
    notebook: Path
    params: dict[str, Any]
    upstream: tuple[str, ...]  # names of jobs, "stage/variant"
    threads: int | str  # "all": every core

    @property
    def name(self) -> str:
        """``stage/variant``."""
        return f"{self.stage}/{self.variant}"

    @property
    def folder(self) -> Path:
        """Where its run lies when it is complete."""
        return study_folder(self.study) / self.stage / self.variant

    @property
    def executed(self) -> Path:
        """Where its executed notebook is kept, also after a failure."""
        return self.folder.with_name(f"{self.variant}.ipynb")

    @property
    def is_complete(self) -> bool:
        """Whether its run is there."""
        return (self.folder / "run.json").is_file()


@dataclass(frozen=True)
class Study:
    """A study, expanded; jobs come after the jobs that they need."""

    name: str
    title: str
    description: str
    path: Path
    jobs: tuple[Job, ...]

    @property
    def stages(self) -> list[str]:
        """Names of the stages, in order."""
        return list(dict.fromkeys(job.stage for job in self.jobs))

    def select(self, name: str) -> list[Job]:
        """Jobs of a stage, or the one of ``stage/variant``; ValueError, naming what there is, when there is none."""
        found = [job for job in self.jobs if name in (job.stage, job.name)]
        if not found:
            allowed = [*self.stages, *(job.name for job in self.jobs)]
            raise ValueError(f"{self.path}: no stage or variant {name!r}; {_suggest(name, allowed)}")
        return found

    def with_upstream(self, names: Iterable[str]) -> list[Job]:
        """The jobs of `names` and all that they need, in order."""
        wanted = {job.name for name in names for job in self.select(name)}
        for job in reversed(self.jobs):
            if job.name in wanted:
                wanted.update(job.upstream)
        return [job for job in self.jobs if job.name in wanted]


def load(path: str | Path) -> Study:
    """Read, check and expand a study file.

    Raises
    ------
    FileNotFoundError
        The file, or a notebook that it names, is missing.
    ValueError
        Anything in it that is not allowed: keys, names, stages, parameters, values. The message names the place.
    """
    path = Path(path)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"{path}: no such study file; in its folder there are: {there}")
    try:
        content = yaml.load(path.read_text("utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_mapping(content, STUDY_KEYS, f"{path}", required={"study", "stages"})
    name = check_name(content["study"], what=f"{path}: study")
    if name != path.stem:
        raise ValueError(f"{path}: the study is called {name!r}; call the file {name}.yaml, other commands look for it")
    if not isinstance(content["stages"], dict) or not content["stages"]:
        raise ValueError(f"{path}: stages: a mapping of at least one stage is expected")
    jobs: list[Job] = []
    for stage, given in content["stages"].items():
        jobs += _expand_stage(path, name, content.get("seed"), stage, given, jobs)
    title = content.get("title") or name
    return Study(name, str(title), str(content.get("description") or "").strip(), path.resolve(), tuple(jobs))


class _UniqueKeyLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` keeps the last of two equal keys silently; here a variant written twice is an error."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


def _expand_stage(path: Path, study: str, seed: Any, stage: str, given: Any, above: list[Job]) -> list[Job]:
    where = f"{path}: stages.{stage}"
    check_name(stage, what=f"{path}: stage")
    _check_mapping(given, STAGE_KEYS, where, required={"notebook"})
    threads = given.get("threads", 1)
    if threads != "all" and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ValueError(f"{where}.threads: {threads!r}; a number of 1 or more, or 'all', is allowed")
    notebook = project_root() / "notebooks" / f"{given['notebook']}.ipynb"
    declared = notebooks.parameters_of(notebook)
    upstream = _upstream(where, given.get("needs") or [], above)
    shared = _as_mapping(given.get("params"), f"{where}.params")
    jobs = []
    for variant, own in _variants(where, given).items():
        check_name(variant, what=f"{where}: variant")
        params = {**({"seed": seed} if "seed" in declared and seed is not None else {}), **shared, **own}
        _check_params(params, declared, f"{where}, variant {variant!r}", notebook)
        implied = {"study": study, "variant": variant, "make_missing": False}
        params.update({key: value for key, value in implied.items() if key in declared})
        jobs.append(Job(study, stage, variant, notebook, params, upstream, threads))
    return jobs


def _variants(where: str, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    variants = {
        name: _as_mapping(own, f"{where}.variants.{name}")
        for name, own in _as_mapping(given.get("variants"), f"{where}.variants").items()
    }
    for i, grid in enumerate(given.get("grids") or []):
        here = f"{where}.grids[{i}]"
        _check_mapping(grid, GRID_KEYS, here, required={"name", "values"})
        values = _as_mapping(grid["values"], f"{here}.values")
        for key, items in values.items():
            if not isinstance(items, list) or not items:
                raise ValueError(f"{here}.values.{key}: a list of at least one value is expected, {items!r} found")
        for combination in itertools.product(*values.values()):
            point = dict(zip(values, combination, strict=True))
            try:
                name = grid["name"].format(**point)
            except (KeyError, IndexError) as error:
                raise ValueError(
                    f"{here}.name: {grid['name']!r} names {error}; {', '.join(values)} are known"
                ) from None
            if name in variants:
                raise ValueError(f"{here}: variant {name!r} is there already; name all of {', '.join(values)}")
            variants[name] = {**_as_mapping(grid.get("params"), f"{here}.params"), **point}
    return variants or {"main": {}}


def _upstream(where: str, needs: Any, above: list[Job]) -> tuple[str, ...]:
    if not isinstance(needs, list):
        raise ValueError(f"{where}.needs: a list is expected, {needs!r} found")
    found: dict[str, None] = {}
    for need in needs:
        matching = [job.name for job in above if need in (job.stage, job.name)]
        if not matching:
            allowed = [*dict.fromkeys(job.stage for job in above), *(job.name for job in above)]
            raise ValueError(
                f"{where}.needs: {need!r} is none of the stages or variants above it; {_suggest(need, allowed)}"
            )
        found.update(dict.fromkeys(matching))
    return tuple(found)


def _check_params(params: Mapping[str, Any], declared: Iterable[str], where: str, notebook: Path) -> None:
    for name, value in params.items():
        if name in IMPLIED:
            raise ValueError(f"{where}: parameter {name!r} is set by the study itself and may not be given")
        if name not in declared:
            raise ValueError(f"{where}: {notebook.name} has no parameter {name!r}; {_suggest(name, declared)}")
        if isinstance(value, str) and FLOAT_READ_AS_TEXT.fullmatch(value):
            raise ValueError(f"{where}: {name}: YAML reads {value} as text; write {float(value):.1e}")


def _check_mapping(value: Any, allowed: set[str], where: str, *, required: set[str]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a mapping is expected, {value!r} found")
    for key in value:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; {_suggest(key, allowed)}")
    for key in sorted(required - set(value)):
        raise ValueError(f"{where}: key {key!r} is missing")


def _as_mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}: a mapping with names as keys is expected, {value!r} found")
    return value


def _suggest(name: Any, allowed: Iterable[str]) -> str:
    allowed = sorted(set(allowed))
    close = difflib.get_close_matches(str(name), allowed, n=3)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed) or 'none'}"


def execute(job: Job, *, log: TextIO | None = None) -> Path:
    """Execute a job's notebook headlessly; returns the executed notebook, which is kept also after a failure.

    Its upstream runs must be there. `log` receives what the notebook writes to its standard error (progress bars).

    Raises
    ------
    RuntimeError
        The notebook failed, or ended without finishing its run; the message has the executed notebook's path.
    """
    notebooks.execute(job.notebook, job.executed, params=job.params, folder=project_root(), title=job.name, log=log)
    if not job.is_complete:
        raise RuntimeError(f"{job.notebook.name} ended without finishing run '{job.name}'; see {job.executed}")
    return job.executed


def execute_missing(study: str, names: Iterable[str]) -> list[str]:
    """Execute those of the jobs `names` and of their upstream jobs whose runs are missing; returns their names.

    The study is read from ``params/<study>.yaml``.
    """
    loaded = load(project_root() / "params" / f"{study}.yaml")
    missing = [job for job in loaded.with_upstream(names) if not job.is_complete]
    for job in missing:
        execute(job)
    return [job.name for job in missing]
