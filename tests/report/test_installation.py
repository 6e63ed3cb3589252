"""The doctor is given what it should find: broken packages on a path of their own, folders that cannot be written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vergence.commands.doctor import doctor
from vergence.report import installation
from vergence.report.installation import (
    check_disk,
    check_import,
    check_opencv,
    check_threads,
    check_torch,
    check_torchvision,
    check_video,
    examine,
    probe,
)

CPU_TORCH = {"version": "2.13.0+cpu", "cuda": None, "cuda_works": False, "threads": 2, "devices": [], "mps": False}


def fake_package(folder: Path, name: str, version: str, source: str) -> None:
    """An installed distribution, as importlib sees it."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def broken_torchvision(tmp_path, monkeypatch):
    fake_package(
        tmp_path, "torchvision", "0.28.0+cu130", "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_torchvision_of_another_build_is_named_with_its_mend(broken_torchvision):
    answer = probe(installation.PROBES["torchvision"])
    assert "nms does not exist" in answer["error"]
    finding = check_torchvision(answer, CPU_TORCH)
    assert finding.state == "wrong"
    assert "0.28.0+cu130" in finding.found
    assert "pip uninstall torchvision" in finding.remedy


def test_what_fails_because_of_torchvision_points_at_it():
    finding = check_import("lightning", {"error": "RuntimeError: operator torchvision::nms does not exist"})
    assert (finding.state, "pip uninstall torchvision" in finding.remedy) == ("wrong", True)


def test_a_torchvision_of_another_build_is_wrong_even_where_it_imports(monkeypatch):
    monkeypatch.setattr(installation, "installed", lambda name: "0.28.0+cu130")
    assert check_torchvision({"version": "0.28.0+cu130"}, CPU_TORCH).state == "wrong"
    assert check_torchvision({"version": "0.28.0+cu130"}, {**CPU_TORCH, "version": "2.13.0+cu130"}).state == "note"


def test_a_probe_that_crashes_the_interpreter_is_reported():
    answer = probe("import os; os._exit(3)")
    assert "status 3" in answer["error"]
    assert probe("found = {'a': 1}; print('noise')") == {"a": 1}


@pytest.mark.parametrize("device", ["cuda", "mps", "tpu"])
def test_a_device_that_is_asked_for_must_work(device):
    assert check_torch(CPU_TORCH, device).state == "wrong"
    assert check_torch(CPU_TORCH, "auto").state == "good"


def test_a_gpu_build_without_a_gpu_is_worth_a_note():
    assert check_torch({**CPU_TORCH, "cuda": "13.0"}, "auto").state == "note"


def test_two_opencvs_in_one_folder_are_noted(monkeypatch):
    monkeypatch.setattr(installation, "installed", lambda name: "4.10" if "contrib" not in name else None)
    finding = check_opencv({"version": "4.10"})
    assert finding.state == "note"
    assert "opencv-python and opencv-python-headless" in finding.found


def test_a_missing_h264_encoder_is_noted():
    assert check_video({"version": "14.0", "h264": False}).state == "note"


def test_the_video_probe_writes_and_reads_a_video():
    answer = probe(installation.PROBES["av"])
    assert "error" not in answer
    assert isinstance(answer["h264"], bool)


def test_a_folder_that_is_not_there_is_wrong_not_a_traceback(tmp_path):
    finding = check_disk(tmp_path / "missing")
    assert (finding.state, "missing" in finding.found) == ("wrong", True)


def test_little_free_space_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "FREE_GIB", 1e9)
    assert check_disk(tmp_path).state == "wrong"


def test_a_passive_wait_policy_is_noted(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setattr(installation.threads, "settled", installation.threads.Choice(0, False, "2 of 2 cores are free"))
    assert check_threads(CPU_TORCH).state == "note"


def test_the_threads_are_told_and_why(monkeypatch):
    monkeypatch.setattr(installation.threads, "cores", lambda: 2)
    chosen = installation.threads.Choice(1, True, "0 of 2 cores are free: one thread does not wait for others")
    monkeypatch.setattr(installation.threads, "settled", chosen)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    found = check_threads(CPU_TORCH)
    assert found.state == "good"
    assert "torch uses 1 thread: 0 of 2 cores are free" in found.found
    monkeypatch.setattr(installation.threads, "settled", installation.threads.Choice(3, False, "as asked for"))
    assert check_threads(CPU_TORCH).state == "note"


def test_a_missing_requirement_is_named(monkeypatch):
    monkeypatch.setattr(installation, "installed", lambda name: None if name == "jaxtyping" else "99")
    finding = installation.check_requirements()
    assert (finding.state, "jaxtyping" in finding.found) == ("wrong", True)


def test_exit_status_and_table_say_the_same(monkeypatch, capsys):
    answers = {name: {"version": "1"} for name in installation.PROBES}
    answers |= {"torch": CPU_TORCH, "av": {"version": "14", "h264": True}}
    monkeypatch.setattr(installation, "probe_all", lambda *_: answers)
    assert all(finding.state != "wrong" or finding.remedy for finding in examine(folder=Path(os.sep)))
    answers["transformers"] = {"error": "ImportError: no"}
    assert doctor() == 1
    assert "wrong: " in capsys.readouterr().out


def test_the_doctor_itself_imports_nothing_that_may_be_broken():
    code = "import sys, vergence.report.installation, vergence.commands.doctor\n"
    answer = probe(code + "found = {'heavy': sorted({'torch', 'numpy', 'cv2', 'av', 'lightning'} & set(sys.modules))}")
    assert answer == {"heavy": []}
