"""A study's runs and executed notebooks -> ``reports/<study>/index.html``: offline, replaced as a whole."""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from emolib import atomic, notebooks, pages, runs
from emolib.frames import replace_folder
from emolib.roots import check_name, reports_root
from emolib.study import Job, Study
from emolib.tables import format_duration, format_value, present

IMAGE_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
FEW_VARIANTS = 2  # a stage of more has its figures folded in the index
MANY_VALUES = 12  # a parameter or metric with more entries than this is shortened


@dataclass
class Entry:
    """A job as the index shows it."""

    job: Job
    status: str  # done, failed, damaged, interrupted, missing
    problem: str = ""
    traceback: str = ""
    note: str = ""
    page: str | None = None
    run: runs.Upstream | None = None
    figures: list[dict[str, str]] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    is_open: bool = False  # its figures are shown without a click
    lacks: list[str] = field(default_factory=list)  # variants that it needs and that failed, with their status

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def stage(self) -> str:
        return self.job.stage

    @property
    def variant(self) -> str:
        return self.job.variant

    @property
    def lacking(self) -> str:
        """What it means for this job that variants that it needs are not there, in words."""
        if not self.lacks:
            return ""
        begin = (
            "Not run, because it needs"
            if self.status == "missing"
            else "Not up to date: it was made from older runs of"
        )
        return f"{begin} {', '.join(self.lacks)}."

    @property
    def protocol(self) -> str | None:
        return (self.run.params if self.run else self.job.params).get("protocol")

    @property
    def time(self) -> str:
        return format_duration(self.run.info["wall_time_s"]) if self.run else ""

    @property
    def verdict(self) -> str:
        """What the run itself says its numbers mean, in words."""
        return self.run.metrics.get("verdict", "") if self.run else ""

    @property
    def params(self) -> list[tuple[str, str]]:
        return _pairs(self.run.params if self.run else self.job.params)

    @property
    def metrics(self) -> list[tuple[str, str]]:
        return _pairs(self.run.metrics) if self.run else []


def build(study: Study) -> Path:
    """Write the report of what is there of `study`; returns the path of its index.

    An older report is replaced only when the new one is complete.

    Raises
    ------
    ValueError
        A page would load something from a network, or a summary has intervals but no protocol.
    """
    target = reports_root() / check_name(study.name, what="study")
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.remove_abandoned(target.parent, study.name)  # what a build that was killed left behind
    atomic.recover(target)
    folder = atomic.temporary_folder(target.parent, study.name)
    folder.mkdir()
    try:
        entries = [_examine(job) for job in study.jobs]
        _name_what_is_missing(entries)
        for entry in entries:
            if entry.page is None and entry.job.executed.is_file() and notebooks.is_whole(entry.job.executed):
                entry.page = _write_notebook(study, entry, folder)
        html = pages.environment().get_template("index.html.j2").render(**_index(study, entries))
        (folder / "index.html").write_text(pages.check_offline(html, where=f"index of {study.name}"), encoding="utf-8")
        replace_folder(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target / "index.html"


def _examine(job: Job) -> Entry:
    executed = job.executed.is_file()
    failure = notebooks.failure_of(job.executed) if executed else None
    run_file = job.folder / "run.json"
    by_hand = executed and run_file.is_file() and run_file.stat().st_mtime > job.executed.stat().st_mtime
    older = "An older complete run is kept; it is not shown here." if job.is_complete else ""
    if failure is not None and not by_hand:
        return Entry(job, "failed", failure.summary, failure.traceback, older)
    if executed and not by_hand and not notebooks.ran_to_the_end(job.executed):
        return Entry(job, "interrupted", "the notebook was stopped before its end", note=older)
    if not job.is_complete:
        return Entry(job, "missing", note="The notebook has not run." if not executed else "It finished no run.")
    try:
        run = runs.load(job.study, job.stage, job.variant)
    except ValueError as error:
        return Entry(job, "damaged", str(error))
    entry = Entry(job, "done", run=run, figures=_figures(run))
    if by_hand or not executed:
        entry.note = "Run by hand: the executed notebook was not kept."
        entry.page = "" if by_hand else None  # the notebook there belongs to an older run
    entry.summaries = [
        present(run.table(file.stem), protocol=entry.protocol, where=job.name)
        | {"title": file.stem.removeprefix("summary").replace("_", " ").strip().capitalize()}
        for file in sorted(run.folder.glob("summary*.parquet"))
    ]
    return entry


def _name_what_is_missing(entries: Iterable[Entry]) -> None:
    """Name for each entry the variants upstream whose failure it suffers from; entries come in the order of jobs."""
    by_name = {entry.name: entry for entry in entries}
    for entry in by_name.values():
        needed = [by_name[name] for name in entry.job.upstream]
        own = [f"{other.name} ({other.status})" for other in needed if other.status not in ("done", "missing")]
        inherited = [text for other in needed if other.status == "missing" for text in other.lacks]
        entry.lacks = list(dict.fromkeys([*own, *inherited]))


def _write_notebook(study: Study, entry: Entry, folder: Path) -> str:
    address = f"{entry.stage}/{entry.variant}.html"
    subtitle = f"{study.title} · {entry.name} · {entry.status}{f' · {entry.time}' if entry.time else ''}"
    html = pages.notebook_page(entry.job.executed, title=entry.name, subtitle=subtitle, index="../index.html")
    (folder / entry.stage).mkdir(exist_ok=True)
    (folder / address).write_text(html, encoding="utf-8")
    return address


def _figures(run: runs.Upstream) -> list[dict[str, str]]:
    listed = run.folder / "figures.json"
    if not listed.is_file():
        return []
    return [
        {"caption": figure["caption"], "uri": _data_uri(run.folder / figure["file"])}
        for figure in json.loads(listed.read_text("utf-8"))
    ]


def _data_uri(file: Path) -> str:
    if file.suffix not in IMAGE_TYPES:
        raise ValueError(f"{file}: figures are {', '.join(IMAGE_TYPES)}")
    return f"data:{IMAGE_TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _index(study: Study, entries: list[Entry]) -> dict[str, Any]:
    problems = [entry for entry in entries if entry.problem]
    own = [entry for entry in entries if entry.job.study == study.name]
    complete = [entry for entry in own if entry.status == "done"]
    variants = Counter(entry.stage for entry in own)
    for entry in own:
        entry.is_open = variants[entry.stage] <= FEW_VARIANTS
    beside = _side_by_side(complete)  # takes a row out of its run's own summaries
    return {
        "title": study.title,
        "question": study.description,
        "study": study.name,
        "base": study.base,
        "runs": own,
        "base_runs": [entry for entry in entries if entry.job.study != study.name],
        "n_done": len(complete),
        "n_failed": len(problems),  # of the base's, too
        "protocols": sorted({str(entry.protocol) for entry in complete if entry.protocol}),
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "beside": beside,
        "results": [entry for entry in complete if entry.summaries],
        "failures": problems,
        "waiting": [entry for entry in own if entry.status == "missing" and entry.lacks],
        "others": [entry for entry in complete if not entry.summaries and entry.figures],
        "made_with": _made_with(entry for entry in entries if entry.status == "done"),
        "version": importlib.metadata.version("emolib"),
    }


def _side_by_side(complete: Iterable[Entry]) -> list[dict[str, Any]]:
    """One table for each stage in which several runs each sum themselves up in one row of the same columns.

    A further summary that is the same in all of them, such as published results, follows it once.
    """
    stages: dict[str, list[tuple[Entry, pd.DataFrame]]] = {}
    for entry in complete:
        if (entry.run.folder / "summary.parquet").is_file() and len(table := entry.run.table("summary")) == 1:
            stages.setdefault(entry.stage, []).append((entry, table))
    found = []
    for stage, runs_of_it in stages.items():
        alike = len({tuple(table.columns) for _, table in runs_of_it}) == 1
        if len(runs_of_it) < 2 or not alike or "protocol" not in runs_of_it[0][1]:
            continue
        rows = [table.assign(variant=entry.variant) for entry, table in runs_of_it]
        joined = pd.concat(rows, ignore_index=True)
        joined = joined[["variant", *(name for name in joined if name != "variant")]]
        found.append(present(joined, protocol=None, where=stage) | {"title": stage.replace("_", " ").capitalize()})
        others = [[one for one in entry.summaries if one["title"]] for entry, _ in runs_of_it]
        shared = [one for one in others[0] if all(one in theirs for theirs in others)]
        found += shared
        for (entry, _), theirs in zip(runs_of_it, others, strict=True):
            entry.summaries = [one for one in theirs if one not in shared]
    return found


def _made_with(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Code and machine of the runs; several values are all listed, since a report of mixed code should say so."""
    seen: dict[str, dict[str, None]] = {}
    for entry in entries:
        code, place = entry.run.info["code"], entry.run.info["environment"]
        commit = code["git_commit"] and code["git_commit"][:12] + (" with changes" if code["git_dirty"] else "")
        values = {
            "code": commit or f"emolib {code['emolib_version']}, sources {code['emolib_sources_sha256'][:12]}",
            "python": place["python"],
            "torch": place["packages"].get("torch", "none"),
            "machine": f"{place['platform']}, {place['cores']} cores{', ' + place['gpu'] if place['gpu'] else ''}",
            "seed": str(entry.run.info["seed"]) if entry.run.info["seed"] is not None else "",
        }
        for key, value in values.items():
            if value:
                seen.setdefault(key, {})[value] = None
    return [(key, "; ".join(values)) for key, values in seen.items()]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(key: str, value: Any) -> str:
        if isinstance(value, list | dict):
            whole = json.dumps(value, ensure_ascii=False)
            return whole if len(value) <= MANY_VALUES else f"{whole[:120]} … ({len(value)} entries)"
        return format_value(value, key)

    return [(key, text(key, value)) for key, value in values.items()]
