"""How far a workflow is, read from Snakemake's log, and shown as one line with what the running notebooks say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from emolib.roots import project_root

REFRESH_S = 1.0
# Lines of papermill and the kernel that say nothing of how far a notebook is
NOISE = re.compile(r"Ending Cell|(In|Out)put Notebook:|Executing notebook with|\[IPKernelApp\]|-*$")
Key = tuple[str, str]  # study, "stage/variant"


@dataclass
class Progress:
    """Reads Snakemake's log line by line; pure, so that a test can feed it.

    A job's block begins with its rule, has its number as ``jobid`` and its wildcards; later lines have the number only.
    """

    keys: frozenset[Key]
    total: int = 0
    done: list[Key] = field(default_factory=list)
    failed: list[Key] = field(default_factory=list)
    running: list[Key] = field(default_factory=list)
    reasons: dict[Key, str] = field(default_factory=dict)  # why each job runs, in Snakemake's words
    _of_id: dict[str, Key] = field(default_factory=dict)
    _rule: str = ""  # of the block that is being read
    _id: str = ""
    _reason: str = ""

    def read(self, line: str) -> None:
        """Take one line into account."""
        if found := re.fullmatch(r"(?:local)?rule (.+):|Error in rule (.+):", line):
            self._rule, self._id, self._reason = found[1] or "", "", ""
        elif found := re.fullmatch(r"\s+jobid: (\d+)", line):
            self._id = found[1]
            if not self._rule:
                self._end(found[1], self.failed)
        elif found := re.fullmatch(r"\s+reason: (.+)", line):
            self._reason = found[1]
        elif found := re.fullmatch(r"\s+wildcards: (.+)", line):
            wildcards = dict(pair.partition("=")[::2] for pair in found[1].split(", "))
            key = (wildcards.get("study", ""), f"{self._rule}/{wildcards.get('variant', '')}")
            if key in self.keys and self._id:
                self._of_id[self._id] = key
                self.running.append(key)
                self.reasons[key] = self._reason
        elif found := re.fullmatch(r"Finished jobid: (\d+) \(Rule: .+\)", line):
            self._end(found[1], self.done)
        elif found := re.fullmatch(r"(\S+)\s+(\d+)", line):  # the table of job counts
            stages = {name.partition("/")[0] for _, name in self.keys}
            self.total += int(found[2]) if found[1] in stages else 0

    def _end(self, number: str, where: list[Key]) -> None:
        key = self._of_id.get(number)
        if key in self.running:
            self.running.remove(key)
        if key is not None and key not in where:
            where.append(key)


def follow(title: str, child: subprocess.Popen, path: Path, logs: Mapping[Key, Path], *, verbose: bool) -> Progress:
    """Show one line until `child`, which writes Snakemake's log to `path`, has ended; returns what was read.

    Parameters
    ----------
    logs : of the jobs, what each writes while it runs.
    verbose : show Snakemake's own lines, too.
    """
    progress = Progress(frozenset(logs))
    columns = shutil.get_terminal_size((120, 24)).columns
    layout = "{desc} {n_fmt}/{total_fmt} jobs [{elapsed}, {remaining} left]{postfix}"
    with (
        path.open(encoding="utf-8", errors="replace") as log,
        tqdm(desc=title, bar_format=layout, file=sys.stderr) as bar,
    ):
        ended = False
        while not ended:
            ended = child.poll() is not None  # asked first, so that the last lines are read after the end
            for line in log:
                progress.read(line.rstrip("\n"))
                if verbose:
                    tqdm.write(line.rstrip("\n"), file=sys.stderr)
            bar.total, bar.n = progress.total, len(progress.done) + len(progress.failed)
            now = " | ".join(f"{key[1]}: {last_words(logs[key])}" for key in progress.running)
            bar.set_postfix_str(now[: max(columns - 45, 20)], refresh=True)
            if not ended:
                time.sleep(REFRESH_S)
    return progress


def short_reason(reason: str) -> str:
    """Why a job runs, in a few words, from Snakemake's `reason`, which names every file by its whole path."""
    short = []
    for part in reason.split("; "):
        kind, _, files = part.partition(": ")
        names = [
            re.sub(r".*/\.done/", "", name).removeprefix(f"{project_root()}/") for name in files.split(", ") if name
        ]
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if kind.startswith("Missing output files"):
            short.append("not run yet")
        elif kind.startswith("Updated input files"):
            short.append(f"changed: {listed}")
        elif kind.startswith("Input files updated by another job"):
            short.append(f"after {listed}")
        elif kind.startswith("Params have changed"):
            short.append("parameters changed")
        else:
            short.append(kind.lower())
    return "; ".join(short)


def last_words(log: Path) -> str:
    """The last line (or state of a progress bar) in a log that is being written."""
    if not log.is_file():
        return "starting"
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 2000, 0))
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))]
    return next((line.rstrip("-") for line in reversed(lines) if not NOISE.match(line)), "starting")
