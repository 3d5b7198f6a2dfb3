"""Emolab: emotion recognition from faces and voices, as numbered notebooks over a thin library."""

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


def _stop_as_with_ctrl_c() -> None:
    """Let SIGTERM (kill, timeout, a cluster's time limit) and SIGINT in the background end a command as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


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

    _stop_as_with_ctrl_c()  # Snakemake and its jobs end
    loaded, jobs = studies.load_all(study_files)
    call = workflow.command(loaded, cores=cores, until=until, profile=profile, force=force, dry_run=dry_run)
    if dry_run:
        raise typer.Exit(workflow.preview(jobs, call, verbose=verbose))
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
def predict(
    inputs: Annotated[list[Path] | None, typer.Argument(help="pictures, videos and folders of them")] = None,
    weights: Annotated[
        str, typer.Option(help="name, file or run folder; several with commas are an ensemble")
    ] = "seven",
    out: Annotated[
        Path | None,
        typer.Option(help="folder for tables, annotated pictures and videos, pages; replaces only earlier results"),
    ] = None,
    detect: Annotated[bool, typer.Option("--detect/--no-detect", help="find faces, or take ready crops")] = True,
    all_faces: Annotated[
        bool | None,
        typer.Option("--all-faces/--main-face", help="where not given: all in pictures, the main one in videos"),
    ] = None,
    frame_step: Annotated[int, typer.Option(help="look at every n-th frame of a video")] = 1,
    views: Annotated[int, typer.Option(help="versions of each face that are averaged: 1, 2, 6 or 10")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    camera: Annotated[int | None, typer.Option(help="number of a webcam, looked at until Ctrl-C")] = None,
    seconds: Annotated[float | None, typer.Option(help="look at the webcam for so long")] = None,
) -> None:
    """Say which emotions the faces in pictures and videos show; exit code 1 when a file failed."""
    from emolib.predict import command

    _stop_as_with_ctrl_c()  # the tables are written
    status = command.run(
        inputs or [],
        weights=weights,
        out=out,
        detect=detect,
        all_faces=all_faces,
        frame_step=frame_step,
        views=views,
        device=device,
        camera_number=camera,
        seconds=seconds,
    )
    raise typer.Exit(status)


@app.command()
@_one_line_errors
def evaluate(
    place: Annotated[str, typer.Argument(help="a folder <emotion>/<picture>, fer2013.csv, or a corpus of stills")],
    weights: Annotated[
        str, typer.Option(help="name, file or run folder; several with commas are an ensemble")
    ] = "seven",
    label_space: Annotated[str | None, typer.Option(help="of the folders' names, such as ravdess8")] = None,
    views: Annotated[int, typer.Option(help="versions of each picture that are averaged: 1, 2, 6 or 10")] = 1,
    root: Annotated[Path | None, typer.Option(help="folder of the corpus")] = None,
    option: Annotated[list[str] | None, typer.Option(help="of the corpus's reader, NAME=VALUE")] = None,
    split: Annotated[str, typer.Option(help="only train, validation or test; FER-2013: PublicTest is validation")] = "",
    only: Annotated[str, typer.Option(help="only files of such names, as PrivateTest_*")] = "*",
    out: Annotated[Path | None, typer.Option(help="folder for evaluation.json, tables and posteriors")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Measure a classifier on labelled pictures of faces; exit code 1 when a picture could not be read."""
    from emolib import classify, labelled_pictures, still_evaluation
    from emolib.predict.answers import shown

    classifier = classify.load(weights, device=device)
    if out is not None:
        still_evaluation.check_out(out)
    how = {"root": root, "options": _assignments(option or []), "label_space": label_space}
    how |= {"split": split, "only": only}
    pictures = labelled_pictures.gather(place, classes=classifier.classes, **how)
    posterior = classifier.posterior(pictures.images, views=views)
    label, group = pictures.table["label"].to_numpy(), pictures.table["group"].to_numpy()
    found = still_evaluation.judge(posterior, label, group, classes=classifier.classes)
    for line in still_evaluation.lines(found, pictures):
        typer.echo(shown(line))
    for source, reason in pictures.unreadable.to_numpy():
        typer.echo(shown(f"unreadable: {source}: {reason}"), err=True)
    if out is not None:
        described = still_evaluation.describe(found, pictures, classifier, place=place, views=views, **how)
        for path in still_evaluation.save(out, found, pictures, posterior, described):
            typer.echo(f"wrote {path}")
    if len(pictures.unreadable):
        typer.echo(
            f"{len(pictures.unreadable)} picture(s) or folder(s) could not be read and are not counted above", err=True
        )
        raise typer.Exit(1)


def _assignments(texts: list[str]) -> dict:
    """``NAME=VALUE`` texts, the value as YAML reads it."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--option {text!r}: NAME=VALUE is expected")
        try:
            values[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
            problem = " ".join(str(error).split())
            raise ValueError(f"--option {text!r}: VALUE is no YAML ({problem})") from None
    return values


@app.command()
@_one_line_errors
def export(
    out: Annotated[Path, typer.Argument(help="file to write, such as seven.onnx")],
    weights: Annotated[str, typer.Option(help="name, file or run folder")] = "seven",
) -> None:
    """Write a classifier as ONNX, checked against PyTorch (needs the extra onnx)."""
    from emolib import classify, onnx_export

    difference = onnx_export.export(classify.load(weights, device="cpu"), out)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB; largest difference from PyTorch {difference:.1e}")


@app.command()
@_one_line_errors
def ship(
    run: Annotated[Path, typer.Argument(help="folder of a run that trained a classifier of stills")],
    name: Annotated[str, typer.Option(help="what it will be loaded by")],
    crop: Annotated[str, typer.Option(help="how a face is to be cut for it: aligned or loose")],
    trained_on: Annotated[str, typer.Option(help="its pictures in words, for the model card")],
    out: Annotated[Path | None, typer.Option(help="folder of the file; the package's own where not given")] = None,
    half: Annotated[bool, typer.Option("--half", help="store float16: half the size")] = False,
) -> None:
    """Make a run's weights a file that `--weights NAME` opens, with its temperature and facts."""
    from emolib import shipping

    path, facts = shipping.ship(run, name=name, crop=crop, trained_on=trained_on, out=out, half=half)
    fitted = facts["temperature_fit"]
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    for when in ("before", "after"):
        typer.echo(f"validation {when} the temperature: " + ", ".join(f"{k} {v:.4g}" for k, v in fitted[when].items()))


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
