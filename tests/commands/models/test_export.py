"""`vergence export` on the command line."""

from __future__ import annotations

from vergence.cli import main


def test_what_is_no_run_is_refused_in_one_sentence(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), "--format", "onnx"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("vergence export: ")
    assert f"there is no {tmp_path / 'none'}" in said
    assert main(["export", str(tmp_path), "--format", "onnx"]) == 2
    said = capsys.readouterr().err
    assert "is not a finished run" in said or "vergence[onnx]" in said
