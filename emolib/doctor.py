"""What this machine offers to emolib: versions, cores, GPU, detector files, codecs, disk space."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from emolib.roots import data_root

NEEDED_FREE_BYTES = 2 * 2**30  # the embedded corpus, its frames and its runs take well below this
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
CODECS = {"h264": "r", "libx264": "w", "aac": "w"}  # read and write what the embedded corpus is made of


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    text: str
    needed: bool = True


def examine() -> list[Finding]:
    """Look at everything; nothing is changed and nothing leaves the machine."""
    return [
        _python(),
        *_packages(),
        _onnx(),
        _shipped_weights(),
        _cores(),
        _gpu(),
        _landmark_predictor(),
        *_codecs(),
        _disk(),
    ]


def _python() -> Finding:
    return Finding("python", sys.version_info[:2] == (3, 11), f"{platform.python_version()} ({sys.executable})")


def _packages() -> list[Finding]:
    """Packages whose version is not the one required (all in order: one line)."""
    wrong, n_checked = [], 0
    for requirement in importlib.metadata.requires("emolib") or []:
        if "extra ==" in requirement:
            continue
        n_checked += 1
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
        pinned = re.search(r"==([^;,\s]+)", requirement)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(Finding(name, False, f"not installed; {requirement} is required"))
            continue
        if pinned and version.split("+")[0] != pinned[1]:
            wrong.append(Finding(name, False, f"version {version} is installed, {pinned[1]} was tested", needed=False))
    return wrong or [Finding("packages", True, f"{n_checked} required packages are installed as pinned")]


def _onnx() -> Finding:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    text = f"{', '.join(missing)} not installed: pip install -e '.[onnx]' for `emolib export`"
    return Finding("extra onnx", not missing, text if missing else "`emolib export` works", needed=False)


def _shipped_weights() -> Finding:
    folder = Path(__file__).parent / "shipped"
    names = sorted(file.stem for file in folder.glob("*.safetensors"))
    return Finding(
        "weights", bool(names), ", ".join(names) or f"none in {folder}: name some with --weights", needed=False
    )


def _cores() -> Finding:
    return Finding("cores", True, str(len(os.sched_getaffinity(0))))


def _gpu() -> Finding:
    import torch

    found = torch.cuda.is_available()
    return Finding(
        "gpu", found, torch.cuda.get_device_name() if found else "no CUDA device; the CPU is used", needed=False
    )


def _landmark_predictor() -> Finding:
    # found without importing: the package's import needs pkg_resources
    spec = importlib.util.find_spec("face_recognition_models")
    folder = Path(spec.submodule_search_locations[0]) / "models" if spec else Path("face_recognition_models")
    file = folder / "shape_predictor_68_face_landmarks.dat"
    return Finding("landmark predictor", file.is_file(), str(file))


def _codecs() -> list[Finding]:
    import av

    findings = []
    for name, mode in CODECS.items():
        try:
            av.Codec(name, mode)
            findings.append(
                Finding(f"codec {name}", True, f"PyAV {av.__version__} can {'read' if mode == 'r' else 'write'} it")
            )
        except av.codec.codec.UnknownCodecError:
            findings.append(Finding(f"codec {name}", False, f"PyAV {av.__version__} does not know it"))
    return findings


def _disk() -> Finding:
    place = data_root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free at {place}, {NEEDED_FREE_BYTES / 2**30:.0f} GiB are enough for the demo"
    return Finding("disk", free >= NEEDED_FREE_BYTES, text)
