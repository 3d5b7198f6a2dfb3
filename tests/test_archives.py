"""Unpacking: what comes out is what went in, and nothing lands where it should not."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emolib import archives
from emolib.archives import unpack

REAL = Path(__file__).parents[1] / "../shared/data"
FILES = {"a.txt": b"alpha", "folder/b.bin": bytes(range(256)) * 20, "folder/deep/empty": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], *, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_nothing_left(tmp_path: Path, archive: Path) -> None:
    assert sorted(tmp_path.iterdir()) == [archive], "a refused archive leaves nothing behind"


MAKERS = {
    "zip": make_zip,
    **{f"tar {mode}": lambda p, f, mode=mode: make_tar(p, f, mode=mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")},
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())
def test_what_went_in_comes_out_whatever_the_archive_is_called(tmp_path, maker):
    archive = maker(tmp_path / "download", FILES)
    assert unpack(archive, tmp_path / "new/folder") == tmp_path / "new/folder"
    assert contents(tmp_path / "new/folder") == FILES
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["folder"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-zé好]{1,4}/[a-zé好 ]{1,4}x", fullmatch=True), st.binary(max_size=99), min_size=1
    )
)
def test_any_files_survive_both_formats(tmp_path_factory, files):
    tmp_path = tmp_path_factory.mktemp("any")
    for name, maker in (("zip", make_zip), ("tar", make_tar)):
        assert contents(unpack(maker(tmp_path / name, files), tmp_path / f"{name}-out")) == files


LEADS_OUT = ["/etc/x", "../x", "a/../../x", "..", "a\\..\\..\\x", "C:\\x", "C:/x", "\\\\host\\share\\x"]


@pytest.mark.parametrize("name", LEADS_OUT)
def test_a_zip_member_that_leads_out_stops_everything(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", FILES | {name: b"x"})
    with pytest.raises(ValueError, match=r"a\.zip: member .* leads out of the folder; nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize("name", [name for name in LEADS_OUT if "\\" not in name])
def test_a_tar_member_that_leads_out_stops_everything(tmp_path, name):
    archive = make_tar(tmp_path / "a.tgz", FILES | {name: b"x"})
    with pytest.raises(ValueError, match="leads out of the folder"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device"), (tarfile.FIFOTYPE, "device")],
)
def test_tar_links_and_devices_are_refused(tmp_path, kind, said):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    with pytest.raises(ValueError, match=f"'odd' is no file but: {said}"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "device"), (stat.S_IFCHR, "device")])
def test_zip_links_and_devices_are_refused(tmp_path, mode, said):
    info = zipfile.ZipInfo("odd")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=f"'odd' is no file but: {said}"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


def test_an_encrypted_member_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # general purpose bits, in the member's own header and in the central directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match="'a' is no file but: encrypted file"):
        unpack(archive, tmp_path / "out")


def test_more_than_the_limit_is_refused_before_writing(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(10**6)})
    assert archive.stat().st_size < 5000
    with pytest.raises(ValueError, match=r"unpacks to 0\.001 GB.*max_bytes"):
        unpack(archive, tmp_path / "out", max_bytes=10**6 - 1)
    assert_nothing_left(tmp_path, archive)
    assert contents(unpack(archive, tmp_path / "out", max_bytes=10**6)) == {"zeros": bytes(10**6)}


def test_a_member_that_is_longer_than_it_says_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"zeros": bytes(10**6)})
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    raw[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.zip: "):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert_nothing_left(tmp_path, archive)


def test_a_disk_without_room_is_told_before_writing(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="has room for"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize("spoil", ["cut", "bit", "text", "empty"])
@pytest.mark.parametrize("maker", [MAKERS[name] for name in ("zip", "tar w:gz", "tar w:bz2", "tar w:xz")])
def test_a_broken_archive_leaves_nothing(tmp_path, maker, spoil):
    archive = maker(tmp_path / "a", {"noise": random.Random(0).randbytes(50_000)})
    raw = bytearray(archive.read_bytes())
    if spoil == "bit":
        raw[len(raw) // 2] ^= 0x10
    archive.write_bytes(
        {"cut": raw[: len(raw) // 2], "bit": raw, "text": b"<html>not found</html>", "empty": b""}[spoil]
    )
    with pytest.raises(ValueError, match=r"/a: (broken|neither)"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


def test_nothing_is_overwritten_and_a_missing_archive_is_told(tmp_path):
    archive = make_zip(tmp_path / "a.zip", FILES)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out is there already"):
        unpack(archive, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no archive .*b.zip"):
        unpack(tmp_path / "b.zip", tmp_path / "new")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.txt", "./a.txt", "folder\\..\\a.txt", "a.txt/b"])
def test_two_members_for_one_place_are_refused(tmp_path, second):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", b"1")
        file.writestr(second, b"2")
    with pytest.raises(ValueError, match="two members|is a file and the folder|leads out"):
        unpack(archive, tmp_path / "out")
    assert_nothing_left(tmp_path, archive)


def zip_with_raw_name(path: Path, raw: bytes) -> Path:
    """A zip whose member's name has exactly these bytes, without the flag that calls them UTF-8."""
    make_zip(path, {"x" * len(raw): b"content"})
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    return path


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("café/Zoë.avi".encode(), "café/Zoë.avi"),  # UTF-8 without its flag
        ("好.avi".encode(), "好.avi"),
        ("Zoë.avi".encode("cp437"), "Zoë.avi"),
        (b"Zo\xff.avi", "Zo\u00a0.avi"),  # code page 437, the standard's own
        (b"folder\\b.avi", "folder/b.avi"),
    ],
)
def test_zip_names_in_odd_encodings(tmp_path, raw, name):
    assert contents(unpack(zip_with_raw_name(tmp_path / "a.zip", raw), tmp_path / "out")) == {name: b"content"}


def test_tar_names_that_are_no_utf8(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as file:
        info = tarfile.TarInfo("Zoë.avi")
        info.size = 3
        file.addfile(info, io.BytesIO(b"abc"))
    assert contents(unpack(archive, tmp_path / "out")) == {"Zoë.avi": b"abc"}


def test_permissions_are_those_of_new_files(tmp_path):
    info = zipfile.ZipInfo("run.sh")
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o4777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "#!/bin/sh")
    (tmp_path / "plain").touch()
    unpacked = unpack(tmp_path / "a.zip", tmp_path / "out") / "run.sh"
    assert unpacked.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["openface_csv.zip", "ravdess_au_posteriors.zip"])
def test_real_archives(tmp_path, name):
    if not (REAL / name).is_file():
        pytest.skip(f"../shared/data/{name} is not here")
    with zipfile.ZipFile(REAL / name) as file:
        expected = {info.filename: info.file_size for info in file.infolist() if not info.is_dir()}
    unpacked = unpack(REAL / name, tmp_path / "out")
    assert {str(PurePosixPath(k)): len(v) for k, v in contents(unpacked).items()} == expected
