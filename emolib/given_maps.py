"""Guides made elsewhere (MSI-Net's saliency maps, for example): a folder of pictures named like the corpus' sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from emolib.guides import GUIDES
from emolib.roots import check_name

SUFFIX = ".png"


def map_files(folder: Path, sources: pd.Series) -> list[Path]:
    """The map of each source, which need not be there: its own name below `folder`, with the suffix ``.png``."""
    return [folder / _name(source) for source in sources]


def check_maps(corpus, crop: str, guide_maps: Mapping[str, Path]) -> None:
    """Refuse maps that cannot belong to the samples.

    Parameters
    ----------
    corpus : emolib.corpora.Corpus, of stills
    crop : of `preprocessing.prepare`; a map shows what a ready crop shows, not what an aligned one would.
    guide_maps : name -> folder

    Raises
    ------
    ValueError
        Videos, or crops that are aligned; a name that is not allowed or taken; two sources with the same map.
    FileNotFoundError
        A folder is not there.
    """
    if not guide_maps:
        return
    if corpus.kind != "still" or crop == "aligned":
        raise ValueError(
            f"guide_maps: {corpus.kind}s with crop {crop!r} received, stills with crop 'none' or 'box' are allowed"
        )
    for name, folder in guide_maps.items():
        if check_name(name, what="guide map") in GUIDES:
            raise ValueError(f"guide map {name!r} has the name of a guide that is drawn here: {', '.join(GUIDES)}")
        if not folder.is_dir():
            raise FileNotFoundError(f"guide map {name!r}: there is no folder {folder}")
    names = corpus.sources["source"].map(_name)
    if names.duplicated().any():
        twice = names[names.duplicated()].iloc[0]
        first, second = corpus.sources["source"][names == twice].iloc[:2]
        raise ValueError(f"guide_maps: {first} and {second} would share the map {twice}")


def _name(source: str) -> str:
    return PurePosixPath(source).with_suffix(SUFFIX).as_posix()
