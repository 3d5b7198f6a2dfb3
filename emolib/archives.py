"""Safe unpacking of downloaded archives: zip, and tar with any of Python's compressions.

An archive from elsewhere is input like any other. It may name files outside the folder that it is unpacked to, hold
links and devices, or unfold into more than the disk holds. Everything that its list of members tells is checked
before the first byte is written; sizes are counted again while writing.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

BLOCK_BYTES = 1 << 20
BROKEN = (  # what the readers raise when an archive is damaged or in a compression that they do not know
    EOFError,
    NotImplementedError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
UTF8_NAME = 0x800  # general purpose bits of a zip member
ENCRYPTED = 0x1


@dataclass(frozen=True)
class _Member:
    name: str  # as the archive spells it, slashes forward
    n_bytes: int
    kind: str  # "file", "folder" or what it is instead
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, destination: str | Path, *, max_bytes: int = 200 * 10**9) -> Path:
    """Unpack `archive` into the new folder `destination`.

    The files are written to a temporary folder beside `destination`, which gets its name when all of them are there: a
    folder that exists is whole. They get the permissions of new files, whatever the archive says.

    Parameters
    ----------
    archive : a zip or tar file; its content decides, not its name.
    destination : folder to make; its parents are made, itself it must not exist.
    max_bytes : the most that the unpacked files may take together.

    Returns
    -------
    Path
        `destination`

    Raises
    ------
    FileNotFoundError, FileExistsError
        There is no archive, or `destination` is there already.
    ValueError
        No archive or a broken one, a member with an absolute path or "..", a link, a device or an encrypted member, two
        members with one name, or more than `max_bytes`. Nothing is left behind.
    OSError
        The disk has no room for the files.
    """
    archive, destination = Path(archive), Path(destination)
    if not archive.is_file():
        raise FileNotFoundError(f"there is no archive {archive}")
    if destination.exists() or destination.is_symlink():
        raise FileExistsError(f"{destination} is there already; remove it, or name a new folder to unpack {archive} to")
    temporary = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:8]}.tmp")
    with _members(archive) as members:
        plan = _plan(archive, members, max_bytes=max_bytes)
        destination.parent.mkdir(parents=True, exist_ok=True)
        _check_room(archive, destination.parent, sum(member.n_bytes for member in plan.values()))
        try:
            temporary.mkdir()
            for path, member in plan.items():
                _write(archive, member, temporary / path)
            temporary.rename(destination)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return destination


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """The members of an archive, open for reading; what breaks while they are read is told as the archive's fault."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield [_zip_member(file, info) for info in file.infolist()]
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as file:
                members = [_tar_member(file, info) for info in file]
                while file.fileobj.read(BLOCK_BYTES):
                    pass  # a compression's checksum comes last, after what tar itself reads
                yield members
        else:
            raise ValueError(f"{archive}: neither a zip nor a tar archive (an unfinished download?)")
    except BROKEN as error:
        raise ValueError(f"{archive}: broken or in a format that cannot be read ({error})") from error
    except OSError as error:
        if error.errno is not None:  # the machine's fault
            raise
        # gzip and bz2 tell of damaged data in this way
        raise ValueError(f"{archive}: broken ({error})") from error


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    name = info.filename
    if not info.flag_bits & UTF8_NAME:
        # read as code page 437 then; most programs that do not set the flag wrote UTF-8 all the same
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if info.flag_bits & ENCRYPTED:
        kind = "encrypted file"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link" if stat.S_ISLNK(mode) else "device"
    return _Member(name.replace("\\", "/"), info.file_size, kind, lambda: file.open(info))


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    name = info.name
    if not name.isascii():
        raw = name.encode("utf-8", "surrogateescape")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = raw.decode(
                "latin-1"
            )  # every byte is a character there, so that the name can be written in any table
    kind = (
        "file" if info.isreg() else "folder" if info.isdir() else "link" if info.issym() or info.islnk() else "device"
    )
    return _Member(name, info.size, kind, lambda: file.extractfile(info))


def _plan(archive: Path, members: list[_Member], *, max_bytes: int) -> dict[PurePosixPath, _Member]:
    """Where each member goes; ValueError before anything is written if one may not go there."""
    plan: dict[PurePosixPath, _Member] = {}
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or PureWindowsPath(member.name).drive or ".." in path.parts:
            raise ValueError(f"{archive}: member {member.name!r} leads out of the folder; nothing was unpacked")
        if member.kind not in ("file", "folder"):
            raise ValueError(f"{archive}: member {member.name!r} is no file but: {member.kind}; nothing was unpacked")
        before = plan.setdefault(path, member)
        if before is not member and "file" in (before.kind, member.kind):
            raise ValueError(f"{archive}: two members are called {member.name!r}")
    for path in plan:
        for parent in path.parents:
            if parent in plan and plan[parent].kind == "file":
                raise ValueError(f"{archive}: member {plan[parent].name!r} is a file and the folder of {str(path)!r}")
    total = sum(member.n_bytes for member in plan.values())
    if total > max_bytes:
        raise ValueError(
            f"{archive}: unpacks to {total / 1e9:.3f} GB, {max_bytes / 1e9:.3f} GB are allowed (max_bytes)"
        )
    return plan


def _check_room(archive: Path, folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        needed = f"unpacks to {n_bytes / 1e9:.3f} GB, {folder} has room for {free / 1e9:.3f} GB"
        raise OSError(errno.ENOSPC, f"{archive}: {needed}")


def _write(archive: Path, member: _Member, path: Path) -> None:
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as source, path.open("xb") as target:
        while block := source.read(BLOCK_BYTES):
            written += len(block)
            if written > member.n_bytes:
                break
            target.write(block)
    if written != member.n_bytes:
        raise ValueError(
            f"{archive}: member {member.name!r} is not the {member.n_bytes} bytes long that the archive says"
        )
