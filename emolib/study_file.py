"""What a study's YAML may say: reading it strictly, and its variants, grids, chains and seeds as flat parameters.

Nothing here knows notebooks or runs: `emolib.study` checks the parameters and makes jobs of the variants.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emolib.roots import project_root

STUDY_KEYS = {"study", "title", "description", "seed", "base", "stages"}
STAGE_KEYS = {"notebook", "needs", "params", "variants", "grids", "chains", "seeds", "threads"}
GRID_KEYS = {"name", "params", "values"}
CHAIN_KEYS = {"name", "params", "values", "first"}
# may name a run: "stage/variant", or "study/stage/variant" of another study, which has to be run before
RUN_PARAMETERS = (
    *("judged_by", "within", "matched_to", "previous", "start_from", "inner_start_from", "pretrained"),
    "guide",  # also a guide's name
)
RUN_LISTS = ("teachers", "fused")  # lists of such names
FLOAT_READ_AS_TEXT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class Variant:
    """A variant as written: its parameters over the stage's (dotted keys), and the seed of a repetition."""

    name: str
    params: dict[str, Any]
    seed: int | None = None  # of the stage's `seeds`


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


def of_another_study(where: str, name: str) -> bool:
    """Whether `name` is "study/stage/variant", a run of a study that is no part of this one: it is not made for this.

    Raises
    ------
    ValueError
        There is no such study.
    """
    study, *run = name.split("/")
    if len(run) != 2:
        return False
    studies = [file.stem for file in (project_root() / "params").glob("*.yaml")]
    if study not in studies:
        raise ValueError(f"{where}: {name!r}: there is no study {study!r}; {suggest(study, studies)}")
    return True


def read(path: Path) -> dict[str, Any]:
    """The content of a study file, its keys checked.

    Raises
    ------
    FileNotFoundError
        There is no such file; the message names those in its folder.
    ValueError
        It is no YAML, or a key of the study or of a stage is unknown, missing or given twice.
    """
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"{path}: no such study file; in its folder there are: {there}")
    try:
        content = yaml.load(path.read_text("utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from error
    check_mapping(content, STUDY_KEYS, f"{path}", required={"study", "stages"})
    if not isinstance(content["stages"], dict) or not content["stages"]:
        raise ValueError(f"{path}: stages: a mapping of at least one stage is expected")
    for stage, given in content["stages"].items():
        where = f"{path}: stages.{stage}"
        check_mapping(given, STAGE_KEYS, where, required=set() if content.get("base") else {"notebook"})
        threads = given.get("threads", 1)
        if threads != "all" and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise ValueError(f"{where}.threads: {threads!r}; a number of 1 or more, or 'all', is allowed")
    return content


def inherited(where: str, given: Mapping[str, Any], of_base: Mapping[str, Any] | None) -> dict[str, Any]:
    """A stage with the notebook, needs, params and threads of the base's stage of the same name, where it has none.

    `params` are merged, its own over the base's. ValueError when there is no notebook in either.
    """
    shared = {key: of_base[key] for key in ("notebook", "needs", "threads") if key in of_base} if of_base else {}
    stage = {**shared, **given}
    if "notebook" not in stage:
        raise ValueError(f"{where}: key 'notebook' is missing, and the base has no stage of this name")
    layers = (as_mapping((one or {}).get("params"), f"{where}.params") for one in (of_base, given))
    return {**stage, "params": merge(where, *layers)}


def variants(where: str, stage: str, given: Mapping[str, Any]) -> list[Variant]:
    """The variants of a stage in order: those written, each grid's, each chain's; all of it again for each seed.

    Parameters
    ----------
    where : place in the file, for messages.
    stage, given : name of the stage and its checked mapping.
    """
    found = {
        name: as_mapping(own, f"{where}.variants.{name}")
        for name, own in as_mapping(given.get("variants"), f"{where}.variants").items()
    }
    makers = (("grids", GRID_KEYS, _of_grid), ("chains", CHAIN_KEYS, _of_chain))
    for key, allowed, maker in makers:
        for i, entry in enumerate(_as_list(given.get(key), f"{where}.{key}")):
            here = f"{where}.{key}[{i}]"
            check_mapping(entry, allowed, here, required=(allowed - {"params"}))
            values = _values(entry["values"], here)
            shared = as_mapping(entry.get("params"), f"{here}.params")
            for name, own in maker(here, stage, entry, values):
                if name in found:
                    raise ValueError(f"{here}: variant {name!r} is there already; name all of {', '.join(values)}")
                found[name] = {**shared, **own}
    found = found or {"main": {}}
    seeds = _as_list(given.get("seeds"), f"{where}.seeds")
    if not seeds:
        return [Variant(name, own) for name, own in found.items()]
    if not all(type(seed) is int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"{where}.seeds: {seeds!r}; different whole numbers are expected")
    return [
        Variant(name if seed == seeds[0] else f"{name}_s{seed}", {**own, "seed": seed}, seed)
        for seed in seeds
        for name, own in found.items()
    ]


def _of_grid(where: str, stage: str, grid: Mapping, values: Mapping[str, list]) -> Iterator[tuple[str, dict]]:
    """A variant for each combination of the values."""
    for combination in itertools.product(*values.values()):
        point = dict(zip(values, combination, strict=True))
        yield _name(where, grid["name"], point), point


def _of_chain(where: str, stage: str, chain: Mapping, values: Mapping[str, list]) -> Iterator[tuple[str, dict]]:
    """A variant for each place in the lists of values; its ``previous`` is the one before it, at first `first`."""
    lengths = {key: len(items) for key, items in values.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{where}.values: lists of one length are expected, {lengths} found")
    previous = chain["first"]
    if "/" not in str(previous):
        raise ValueError(f"{where}.first: 'stage/variant' is expected, {previous!r} found")
    for k, items in enumerate(zip(*values.values(), strict=True), start=1):
        point = dict(zip(values, items, strict=True))
        name = _name(where, chain["name"], {"stage": k, **point})
        yield name, {**point, "previous": previous}
        previous = f"{stage}/{name}"


def _values(given: Any, where: str) -> dict[str, list]:
    values = as_mapping(given, f"{where}.values")
    for key, items in values.items():
        if not isinstance(items, list) or not items:
            raise ValueError(f"{where}.values.{key}: a list of at least one value is expected, {items!r} found")
    if not values:
        raise ValueError(f"{where}.values: a parameter with a list of values is expected")
    return values


def _name(where: str, pattern: str, point: Mapping[str, Any]) -> str:
    """`pattern` with the values of `point`, each under the last part of its dotted key; a run "stage/variant" by its
    variant."""
    last_part = {key: value.rpartition("/")[2] if isinstance(value, str) else value for key, value in point.items()}
    fields = {key.rpartition(".")[2]: value for key, value in last_part.items()}
    if len(fields) < len(point):
        raise ValueError(f"{where}.values: {', '.join(point)}: two keys end alike, so a name cannot tell them apart")
    try:
        return str(pattern).format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{where}.name: {pattern!r} names {error}; {', '.join(fields)} are known") from None


def merge(where: str, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of `layers`, later ones over earlier ones; a dotted key ``a.b`` sets ``b`` within the mapping ``a``.

    A plain key replaces the whole mapping; within a layer the dotted keys come after the plain ones. What the notebook
    has in that mapping by default does not count: it is empty at first.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key in sorted(layer, key=lambda name: "." in name):
            *path, last = key.split(".")
            place = merged
            for part in path:
                inner = place.get(part, {})
                if not isinstance(inner, dict):
                    raise ValueError(f"{where}: {key}: {part!r} is {inner!r}, no mapping that could hold {last!r}")
                place[part] = dict(inner)  # a copy: layers are shared by variants
                place = place[part]
            place[last] = layer[key]
    return merged


def addresses(compared: Sequence[str], seeds: Sequence[int] | Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Name of a row -> its runs "stage/variant", one a seed.

    Parameters
    ----------
    compared : variants of stage frame_filtering, or "stage/variant".
    seeds : as the study has them: the first one's run has the variant's own name, the others ``<variant>_s<seed>``;
        empty: one run each. Where stages have different ones: stage -> its seeds.

    Raises
    ------
    ValueError
        A variant is named twice.
    """
    full = [name if "/" in name else f"frame_filtering/{name}" for name in compared]
    if twice := sorted({name for name in full if full.count(name) > 1}):
        raise ValueError(f"compared names {', '.join(twice)} more than once")
    short = [name.split("/")[1] for name in full]
    rows = {}
    for name, variant in zip(full, short, strict=True):
        of_stage = seeds.get(name.split("/")[0], ()) if isinstance(seeds, Mapping) else seeds
        row = variant if short.count(variant) == 1 else name
        rows[row] = [name, *(f"{name}_s{seed}" for seed in list(of_stage)[1:])]
    return rows


def check_numbers(value: Any, where: str) -> None:
    """ValueError when a text in `value`, however deep, is a number that YAML did not read as one."""
    if isinstance(value, str) and FLOAT_READ_AS_TEXT.fullmatch(value):
        raise ValueError(f"{where}: YAML reads {value} as text; write {float(value):.1e}")
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            check_numbers(item, f"{where}.{key}")


def check_mapping(value: Any, allowed: set[str], where: str, *, required: set[str]) -> None:
    """ValueError unless `value` is a mapping with the `required` keys and no others than the `allowed`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a mapping is expected, {value!r} found")
    for key in value:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; {suggest(key, allowed)}")
    for key in sorted(required - set(value)):
        raise ValueError(f"{where}: key {key!r} is missing")


def as_mapping(value: Any, where: str) -> dict[str, Any]:
    """`value` itself if it is a mapping with names as keys, {} if it is None, else a ValueError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}: a mapping with names as keys is expected, {value!r} found")
    return value


def _as_list(value: Any, where: str) -> list:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{where}: a list is expected, {value!r} found")
    return value or []


def suggest(name: Any, allowed: Iterable[str]) -> str:
    """What may stand instead of `name`, for the end of a message."""
    allowed = sorted(set(allowed))
    close = difflib.get_close_matches(str(name), allowed, n=3)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed) or 'none'}"
