from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hookline.local import private_files


@pytest.mark.parametrize("mode", [private_files.PRIVATE, private_files.FOR_ALL])
def test_a_file_has_its_mode_whatever_was_left_behind_in_its_place(tmp_path: Path, mode: int) -> None:
    file, left = tmp_path / "file", tmp_path / ".file.new"
    for each in (file, left):
        each.write_bytes(b"from before")
        each.chmod(0o604)
    private_files.write(file, b"new", mode=mode)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) & 0o604 == mode & 0o604
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_written_through_a_link_that_somebody_else_put_there(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / ".file.new").symlink_to(theirs)
    private_files.write(tmp_path / "file", b"secret")
    assert theirs.read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


def test_what_cannot_be_written_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder" / "in").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        private_files.write(tmp_path / "folder", b"secret")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
