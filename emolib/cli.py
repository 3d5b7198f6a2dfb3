"""The command line, `emolib run | report | params | unpack | doctor`: every command is one call into the library."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import yaml

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_debug = False
StudyFile = Annotated[Path, typer.Argument(help="a study, such as params/demo.yaml")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False) -> None:
    """Emolab: emotion recognition from faces, as numbered notebooks over a thin library."""
    global _debug
    _debug = debug


def _one_line_errors(function: Callable) -> Callable:
    """Turn the errors that a user can cause into one line and exit code 2; anything else keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except typer.Exit:  # is a RuntimeError
            raise
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            if _debug:
                raise
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            typer.echo(f"emolib: {message}", err=True)
            raise typer.Exit(2) from None

    return wrapped


@app.command()
@_one_line_errors
def run(
    study_files: Annotated[list[Path], typer.Argument(help="studies, such as params/demo.yaml")],
    cores: Annotated[int | None, typer.Option(min=1, help="cores to use; all where not given")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would run")] = False,
    until: Annotated[str | None, typer.Option(help="only this stage (or stage/variant) and what it needs")] = None,
    profile: Annotated[str | None, typer.Option(help="local, slurm, or a folder with a Snakemake profile")] = None,
    force: Annotated[bool, typer.Option("--force", help="run again what is complete")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show Snakemake's own messages")] = False,
) -> None:
    """Run what is missing of one study, or of several together, then build their reports.

    Exit code 1 when a variant failed.
    """
    from emolib import report as reports
    from emolib import study as studies
    from emolib import workflow

    for number in (signal.SIGINT, signal.SIGTERM):  # both as Ctrl-C, also in the background: Snakemake and its jobs end
        signal.signal(number, signal.default_int_handler)
    loaded, jobs = studies.load_all(study_files)
    call = workflow.command(loaded, cores=cores, until=until, profile=profile, force=force, dry_run=dry_run)
    if dry_run:
        raise typer.Exit(workflow.preview(jobs, call))
    status, failed = workflow.run(loaded, jobs, call, verbose=verbose)
    for failure in failed:
        typer.echo(f"{failure.job.study}: {failure.job.name} failed: {failure.summary}  ({failure.where})", err=True)
    for study in loaded:
        typer.echo(f"report: {reports.build(study)}")
    if status:
        raise typer.Exit(1)


@app.command()
@_one_line_errors
def report(study: Annotated[str, typer.Argument(help="a study's name, or its file")]) -> None:
    """Build reports/<study>/index.html from what has been run."""
    from emolib import report as reports
    from emolib import study as studies
    from emolib.roots import project_root

    file = Path(study) if study.endswith(".yaml") else project_root() / "params" / f"{study}.yaml"
    typer.echo(reports.build(studies.load(file)))


@app.command()
@_one_line_errors
def params(study_file: StudyFile, stage: Annotated[str, typer.Argument(help="stage or stage/variant")]) -> None:
    """Print the flat parameters of one variant, for `papermill NOTEBOOK OUT -f FILE`."""
    from emolib import study as studies

    jobs = studies.load(study_file).select(stage)
    if len(jobs) > 1:
        raise ValueError(f"stage {stage!r} has several variants; name one: {', '.join(job.name for job in jobs)}")
    typer.echo(yaml.safe_dump(jobs[0].params, sort_keys=False, allow_unicode=True), nl=False)


@app.command()
@_one_line_errors
def unpack(
    archive: Annotated[Path, typer.Argument(help="a .zip or .tar file")],
    destination: Annotated[Path, typer.Argument(help="folder to unpack into")],
) -> None:
    """Unpack a corpus that was downloaded by hand."""
    from emolib import archives

    typer.echo(archives.unpack(archive, destination))


@app.command()
@_one_line_errors
def doctor() -> None:
    """Say what this machine offers; exit code 1 when something that is needed is missing."""
    from emolib import doctor as checks

    findings = checks.examine()
    for finding in findings:
        typer.echo(
            f"{'ok     ' if finding.ok else 'MISSING' if finding.needed else 'none   '} {finding.name}: {finding.text}"
        )
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(app())
