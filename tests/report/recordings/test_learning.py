"""The page of `learn` where there is no training: what it advises, and its links."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fixtures_pages import held, odd_file

from vergence.learning.learn import Learned, Recording
from vergence.report.recordings.learning import learned_page
from vergence.report.render import render_page


def learned(folder: Path, name: str = "walk", figures: Any = None, verdict: str = "good") -> Learned:
    report = SimpleNamespace(rotation_noise_deg=0.2, coverage_of_seen=0.99)
    found: Any = SimpleNamespace(verdict=verdict, reasons=(), report=report)
    capture: Any = SimpleNamespace(names=["cam0", "cam1"], cameras=[None, None], folder=folder)
    poses: Any = None
    one = Recording(name, capture, found, np.arange(20) > 15, (), poses, figures or held())
    return Learned(folder, (one,), None, None, verdict != "good")


def advice(found: Learned) -> str:
    return " | ".join(str(cell) for row in learned_page(found).tables[1].rows for cell in row)


def test_a_model_that_learned_nothing_is_not_advised(tmp_path):
    good, bad = held(), held()
    good.ways["model"] = replace(good.ways["model"], score=0.5)
    bad.ways["mean pose"] = replace(bad.ways["mean pose"], score=0.6)
    assert "do not use this model" not in advice(learned(tmp_path, figures=good))
    assert "do not use this model" in advice(learned(tmp_path, figures=bad))
    before = good
    before.ways["without the footage"] = replace(before.ways["model"], score=0.5)
    assert "that comes with the package is as near" in advice(learned(tmp_path, figures=before))


def test_doubtful_footage_is_to_be_inspected_and_another_camera_to_be_held_out(tmp_path):
    assert f"vergence inspect {tmp_path / 'walk'}" in advice(learned(tmp_path, verdict="doubtful"))
    spaced = learned(tmp_path, "my walk", verdict="doubtful")
    assert f"vergence inspect '{tmp_path / 'my walk'}'" in advice(spaced)
    assert learned_page(spaced).title == "Model of my walk"
    said = advice(learned(tmp_path))
    assert "vergence inspect" not in said
    assert "--hold-out cam1" in said


def test_links_lead_to_what_is_there_whatever_its_name(tmp_path):
    name = f"javascript:{odd_file('a')} #?"
    (tmp_path / name / "reconstruction").mkdir(parents=True)
    (tmp_path / name / "reconstruction" / "report.html").write_text("")
    page = learned_page(learned(tmp_path, name))
    assert [link.path for link in page.links] == [
        f"{name}/reconstruction/report.html", f"{name}/reconstruction/", "results.json",
    ]  # fmt: skip
    html = render_page(page)
    assert 'href="javascript%3Aa%3Cimg%20src%3Dx%20' in html
    assert "%20%23%3F/reconstruction/report.html" in html
