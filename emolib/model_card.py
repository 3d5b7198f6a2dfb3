"""The model card of shipped weights, ``docs/model_card.md``: prose with every number taken from files.

    python -m emolib.model_card seven docs/model_card/*.json

Numbers come from the weights' own metadata (`emolib.shipping`), from files ``evaluation.json`` of `emolib evaluate`,
and from the ``run.json`` of a run of notebook 15. None is typed by hand; without them there is no card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from emolib import classify, provenance
from emolib.classifier import Augmentation, ClassifierRecipe
from emolib.classifier_file import read_classifier
from emolib.roots import project_root
from emolib.still_evaluation import SCHEMA_VERSION

NEEDED_FACTS = ("trained_on", "run", "finished_utc", "code", "params", "temperature_fit", "stored")


def write(name: str, sources: Sequence[str | Path], *, out: str | Path | None = None) -> Path:
    """Write the card of the weights `name` to `out` (``docs/model_card.md``); parameters and errors as `card`."""
    path = project_root() / "docs" / "model_card.md" if out is None else Path(out)
    path.write_text(card(name, sources), encoding="utf-8")
    return path


def card(name: str, sources: Sequence[str | Path]) -> str:
    """The card as Markdown.

    Parameters
    ----------
    name : of the weights, as for `classify.load`.
    sources : files ``evaluation.json`` (one or more, of these weights) and at most one ``run.json`` of notebook 15.

    Raises
    ------
    FileNotFoundError
        There are no such weights, or no such file.
    ValueError
        The weights say nothing of their training, a source is neither kind of file or of other weights, or there is no
        evaluation.
    """
    path = classify.find(name)
    file, sha256 = read_classifier(path), provenance.hash_file(path)
    if missing := [fact for fact in NEEDED_FACTS if fact not in file.facts]:
        raise ValueError(f"{path}: its facts lack {', '.join(missing)}; `emolib ship` writes them")
    read = {Path(source): json.loads(Path(source).read_text("utf-8")) for source in sources}
    evaluations = [_evaluation(source, one, sha256) for source, one in read.items() if "per_class" in one]
    crosses = [_cross(source, one, sha256) for source, one in read.items() if "per_class" not in one]
    if not evaluations or len(crosses) > 1:
        raise ValueError(
            f"{len(evaluations)} evaluations and {len(crosses)} runs of notebook 15 received; one or more of `emolib "
            "evaluate PLACE --weights NAME --out FOLDER` (evaluation.json) and at most one run.json are needed"
        )
    [classifier] = classify.load(name, device="cpu").members
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("emolib"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    ).get_template("model_card.md.j2")
    return template.render(
        name=Path(name).stem,
        file=path.name,
        megabytes=f"{path.stat().st_size / 1e6:.1f}",
        sha256=sha256,
        classes=file.weights.classes,
        model=file.weights.model,
        n_parameters=f"{classifier.n_parameters:,}",
        options=_plain(file.weights.options) if file.weights.options else "",
        crop=file.crop,
        temperature=f"{file.temperature:.3f}",
        facts=file.facts,
        commit=_commit(file.facts["code"]),
        params={key: _plain(value) for key, value in _used(file.facts["params"]).items()},
        fit={when: _rounded(one) for when, one in file.facts["temperature_fit"].items()},
        evaluations=evaluations,
        cross=crosses[0] if crosses else None,
        sources=[Path(source).as_posix() for source in sources],
    )


def _evaluation(source: Path, found: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """One evaluation as the template prints it."""
    if found.get("schema_version") != SCHEMA_VERSION or len(found["weights"]) != 1:
        raise ValueError(
            f"{source}: schema version {found.get('schema_version')!r} and {len(found['weights'])} weights found, "
            f"{SCHEMA_VERSION} and 1 are allowed"
        )
    if found["weights"][0]["sha256"] != sha256:
        raise ValueError(f"{source}: measured with other weights ({found['weights'][0]['name']}): evaluate again")
    shown = {key: found[key] for key in ("split", "only") if found.get(key) not in (None, "", "*")}
    counts = found["confusion"]
    rows = []
    for k, row in enumerate(found["per_class"]):
        others = [(n, found["classes"][j]) for j, n in enumerate(counts[k]) if j != k]
        most, other = max(others)
        rows.append(
            {
                "class": row["class"],
                "n": f"{row['n']:,}",
                "recall": _interval({"value": row["recall"], "low": row["recall_low"], "high": row["recall_high"]}),
                "precision": _percent(row["precision"]),
                "confused": f"{other} ({_percent(most / row['n'])})" if most else "",
            }
        )
    calibration = found["calibration"]
    return {
        "title": " ".join([f"`{found['place']}`", *(f"{key} {value}" for key, value in shown.items())]),
        "views": found["views"],
        "n": f"{found['n_pictures']:,}",
        "n_different": f"{found['n_different_pictures']:,}",
        "digest": found["pictures_sha256"][:16],
        "chance": _percent(found["chance"]),
        **{metric: _interval(found[metric]) for metric in ("accuracy", "uar", "macro_f1")},
        "rows": rows,
        "confidence": _percent(calibration["confidence"]),
        "plain_accuracy": _percent(calibration["accuracy"]),
        "ece": f"{_percent(calibration['ece'])} (at most {_percent(calibration['ece_limit'])})",
        "nll": f"{calibration['nll']:.3f}",
        "command": found["command"],
    }


def _cross(source: Path, run: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """The main rule's matched answers of a run of notebook 15."""
    metrics = run.get("metrics", {})
    if run.get("stage") != "cross_corpus" or "scores" not in metrics:
        raise ValueError(f"{source}: neither evaluation.json of `emolib evaluate` nor run.json of notebook 15")
    if metrics["weights_sha256"] != [sha256]:
        raise ValueError(f"{source}: a run with other weights: run it again")
    rows = [row for row in metrics["scores"] if row["rule"] == metrics["rule"] and row["answer"] == "matched"]
    shown = []
    for row in rows:
        limits = {
            name: _interval({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})
            for name in ("accuracy", "uar")
        }
        shown.append({**row, **limits, "chance": _percent(row["chance"])})
    name = "/".join(run[key] for key in ("study", "stage", "variant"))
    return {"corpus": metrics["corpus"], "run": name, "rule": metrics["rule"], "rows": shown}


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _interval(found: Mapping[str, float | None]) -> str:
    if found["low"] is None or found["value"] is None:
        return _percent(found["value"])
    return f"{100 * found['value']:.1f} % [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _rounded(values: Mapping[str, float]) -> dict[str, str]:
    return {key: f"{value:,}" if isinstance(value, int) else f"{value:.3f}" for key, value in values.items()}


def _used(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the run used them: what notebook 13 is given of recipe and augmentation changes their defaults."""
    if not {"recipe", "augmentation"} <= params.keys():
        return dict(params)
    recipe = ClassifierRecipe(**params["recipe"], augmentation=Augmentation(**params["augmentation"]))
    used = dataclasses.asdict(recipe)
    return {**params, "augmentation": used.pop("augmentation"), "recipe": used}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _commit(code: Mapping[str, Any]) -> str:
    changed = " with changes" if code.get("git_dirty") else ""
    return f"`{code['git_commit'][:12]}`{changed}" if code.get("git_commit") else f"emolib {code['emolib_version']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="shipped weights, such as seven")
    parser.add_argument("sources", nargs="+", help="evaluation.json files, and a run.json of notebook 15")
    parser.add_argument("--out", help="docs/model_card.md where not given")
    given = parser.parse_args()
    print(write(given.name, given.sources, out=given.out))
