"""A study's YAML -> jobs: which notebook runs with which flat parameters after which others.

A study file::

    study: demo
    title: ...
    description: the question, for the index
    seed: 2020
    base: other                               # params/other.yaml: its stages may be needed as if they stood above;
                                              # one named again inherits its notebook, needs, params and threads
    stages:                                   # in order: a stage may need only stages above it
      corpus: {notebook: 00_corpus, params: {n_subjects: 8}}
      frame_filtering:
        notebook: 04_frame_filtering
        needs: [corpus, other/variant]        # a stage (all its variants) or stage/variant
        params: {epochs: 5}                   # shared by the stage's variants
        variants:
          all: {filter: none}
          random: {filter: random, matched_to: frame_filtering/p10}
        grids:                                # a variant for each combination of values
          - name: "p{percentile:g}"           # the last part of a dotted key
            params: {filter: percentile}
            values: {filter_options.percentile: [10.0, 20.0]}
        seeds: [2020, 2021]                   # every variant again as <variant>_s2021
        threads: all                          # or a number; 1 where not given
      iterative_stages:
        notebook: 05_iterative_stages
        chains:                               # k-th value: a variant whose parameter `previous` is the (k-1)-th
          - name: "tlf_{stage}"
            first: frame_filtering/all        # the `previous` of the first
            values: {filter_options.percentile: [70.0, 60.0]}

A stage without variants, grids and chains has the one variant ``main``. Every job gets ``study`` and ``variant``;
``seed``, ``base_study`` and ``make_missing: false`` where its notebook has these parameters. A parameter of
`study_file.RUN_PARAMETERS` that names a run, and each one in ``compared`` and in `study_file.RUN_LISTS`, is a need by
itself; in the repetition with another seed such a parameter names that run's own repetition, where there is one. The
runs of a base lie in the base's own folder, shared by all studies built on it; only those that are needed are jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from emolib import notebooks, study_file
from emolib.roots import check_name, project_root, study_folder
from emolib.study_file import Variant, suggest

IMPLIED = ("study", "base_study", "variant", "make_missing")  # set by the expansion, so not allowed in a study's params


@dataclass(frozen=True)
class Job:
    """One execution of a notebook."""

    study: str
    stage: str
    variant: str
    notebook: Path
    params: dict[str, Any]
    upstream: tuple[str, ...]  # names of jobs, "stage/variant", of the same study or of its base
    threads: int | str  # "all": every core
    base: str = ""  # the study's base
    beside: tuple[str, ...] = ()  # runs "study/stage/variant" of other studies that it reads, not made for it

    @property
    def name(self) -> str:
        """``stage/variant``, unique within a study and its base."""
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
    """A study, expanded; jobs come after the jobs that they need, those of its base first."""

    name: str
    title: str
    description: str
    path: Path
    jobs: tuple[Job, ...]
    base: str = ""

    @property
    def stages(self) -> list[str]:
        """Names of the stages, in order."""
        return list(dict.fromkeys(job.stage for job in self.jobs))

    def select(self, name: str) -> list[Job]:
        """Jobs of a stage, or the one of ``stage/variant``; ValueError, naming what there is, when there is none."""
        found = [job for job in self.jobs if name in (job.stage, job.name)]
        if not found:
            allowed = [*self.stages, *(job.name for job in self.jobs)]
            raise ValueError(f"{self.path}: no stage or variant {name!r}; {suggest(name, allowed)}")
        return found

    def with_upstream(self, names: Iterable[str]) -> list[Job]:
        """The jobs of `names` and all that they need, in order."""
        wanted = {job.name for name in names for job in self.select(name)}
        return _with_upstream(self.jobs, wanted)


def _with_upstream(jobs: Iterable[Job], wanted: set[str]) -> list[Job]:
    jobs, wanted = list(jobs), set(wanted)
    for job in reversed(jobs):
        if job.name in wanted:
            wanted.update(job.upstream)
    return [job for job in jobs if job.name in wanted]


def load(path: str | Path) -> Study:
    """Read, check and expand a study file.

    Raises
    ------
    FileNotFoundError
        The file, its base, or a notebook that it names, is missing.
    ValueError
        Anything in it that is not allowed: keys, names, stages, parameters, values. The message names the place.
    """
    path = Path(path)
    content = study_file.read(path)
    name = check_name(content["study"], what=f"{path}: study")
    if name != path.stem:
        raise ValueError(f"{path}: the study is called {name!r}; call the file {name}.yaml, other commands look for it")
    base = _load_base(path, name, content["base"]) if content.get("base") is not None else None
    jobs = list(base.jobs) if base else []
    stages_of_base = study_file.read(base.path)["stages"] if base else {}
    for stage, own in content["stages"].items():
        given = study_file.inherited(f"{path}: stages.{stage}", own, stages_of_base.get(stage))
        jobs += _expand_stage(path, name, base.name if base else "", content.get("seed"), stage, given, jobs)
    jobs = _with_upstream(jobs, {job.name for job in jobs if job.study == name})
    title, description = (str(content.get(key) or "").strip() for key in ("title", "description"))
    return Study(name, title or name, description, path.resolve(), tuple(jobs), base.name if base else "")


def _load_base(path: Path, name: str, given: Any) -> Study:
    check_name(given, what=f"{path}: base")
    if given == name:
        raise ValueError(f"{path}: base: a study cannot be its own base")
    base = load(path.with_name(f"{given}.yaml"))
    if base.base:
        raise ValueError(f"{path}: base {given!r} is built on {base.base!r} itself; name a base that has none")
    return base


def _expand_stage(
    path: Path, study: str, base: str, seed: Any, stage: str, given: Mapping, above: list[Job]
) -> list[Job]:
    where = f"{path}: stages.{stage}"
    check_name(stage, what=f"{path}: stage")
    notebook = project_root() / "notebooks" / f"{given['notebook']}.ipynb"
    if (parts := given["notebook"].partition("_"))[0].isdigit() and parts[2] != stage:  # as `stages.begin` names runs
        raise ValueError(f"{where}: notebook {given['notebook']!r} leaves runs of stage {parts[2]!r}; call it so")
    declared = notebooks.parameters_of(notebook)
    needs = _needs(where, given.get("needs") or [], above)
    shared = study_file.as_mapping(given.get("params"), f"{where}.params")
    if given.get("seeds") and "seed" not in declared:
        raise ValueError(f"{where}.seeds: {notebook.name} has no parameter 'seed'")
    variants = study_file.variants(where, stage, given)
    jobs: list[Job] = []
    for variant in variants:
        here = f"{where}, variant {variant.name!r}"
        check_name(variant.name, what=f"{where}: variant")
        default = {"seed": seed} if "seed" in declared and seed is not None else {}
        params = study_file.merge(here, default, shared, variant.params)
        _check_params(params, declared, here, notebook)
        known = [*above, *jobs]
        if f"{stage}/{variant.name}" in {job.name for job in known}:
            raise ValueError(f"{here}: the base {base!r} has a variant of this name; choose another")
        named, beside = _name_runs(here, params, variant, known)
        upstream = dict.fromkeys((*needs, *named))
        implied = {"study": study, "base_study": base, "variant": variant.name, "make_missing": False}
        if not base:
            del implied["base_study"]  # not passed at all: adding a base to one study outdates no other
        params.update({key: value for key, value in implied.items() if key in declared})
        threads = given.get("threads", 1)
        jobs.append(Job(study, stage, variant.name, notebook, params, tuple(upstream), threads, base, tuple(beside)))
        _check_base_is_read(here, jobs[-1], declared, above)
    return jobs


def _needs(where: str, needs: Any, above: list[Job]) -> tuple[str, ...]:
    if not isinstance(needs, list):
        raise ValueError(f"{where}.needs: a list is expected, {needs!r} found")
    found: dict[str, None] = {}
    for need in needs:
        matching = [job.name for job in above if need in (job.stage, job.name)]
        if not matching:
            allowed = [*dict.fromkeys(job.stage for job in above), *(job.name for job in above)]
            raise ValueError(
                f"{where}.needs: {need!r} is none of the stages or variants above it; {suggest(need, allowed)}"
            )
        found.update(dict.fromkeys(matching))
    return tuple(found)


def _name_runs(where: str, params: dict[str, Any], variant: Variant, above: list[Job]) -> tuple[list[str], list[str]]:
    """Runs that `params` name, of this study and of others; exchanged for their repetition with the variant's seed."""
    known, beside, named = {job.name for job in above}, [], []

    def checked(key: str, name: str) -> str:
        if study_file.of_another_study(f"{where}: {key}", name):
            beside.append(name)
        elif name not in known:
            raise ValueError(f"{where}: {key}: {name!r} is none of the variants above it; {suggest(name, known)}")
        repetition = f"{name}_s{variant.seed}"
        return repetition if variant.seed is not None and repetition in known else name

    for key in study_file.RUN_PARAMETERS:
        if isinstance(params.get(key), str) and "/" in params[key]:
            params[key] = checked(key, params[key])
            named.append(params[key])
    for key in study_file.RUN_LISTS:
        if params.get(key):
            params[key] = [checked(key, name) for name in params[key]]
            named += params[key]
    rows = study_file.addresses(params.get("compared") or [], params.get("seeds") or [])
    for name in (one for of_row in rows.values() for one in of_row):
        checked("compared", name)
        named.append(name)
    return [name for name in named if name in known], beside


def _check_params(params: Mapping[str, Any], declared: Iterable[str], where: str, notebook: Path) -> None:
    for name, value in params.items():
        if name in IMPLIED:
            raise ValueError(f"{where}: parameter {name!r} is set by the study itself and may not be given")
        if name not in declared:
            raise ValueError(f"{where}: {notebook.name} has no parameter {name!r}; {suggest(name, declared)}")
        study_file.check_numbers(value, f"{where}: {name}")


def _check_base_is_read(where: str, job: Job, declared: Iterable[str], above: list[Job]) -> None:
    of_base = [other.name for other in above if other.study != job.study and other.name in job.upstream]
    if of_base and "base_study" not in declared:
        raise ValueError(f"{where}: it needs {of_base[0]} of the base, but {job.notebook.name} lacks 'base_study'")


def load_all(paths: Iterable[str | Path]) -> tuple[list[Study], dict[tuple[str, str], Job]]:
    """Several studies, and all their jobs by (study, "stage/variant"): what they share, such as a base, once.

    Raises
    ------
    FileNotFoundError, ValueError
        See `load`; or two of the files, or their bases, are different studies of one name.
    """
    studies = [load(path) for path in dict.fromkeys(Path(path).resolve() for path in paths)]
    jobs: dict[tuple[str, str], Job] = {}
    for study in studies:
        for job in study.jobs:
            if jobs.setdefault((job.study, job.name), job) != job:
                raise ValueError(
                    f"{study.path}: study {job.study!r} is given by another file, too, with other contents"
                )
    return studies, jobs


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
