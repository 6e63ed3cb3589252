"""Every named protocol on its dataset in its real format, as folder and as shards: the truth is without error, and only it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fixtures_flat as flat
import fixtures_human36m as h36m
import fixtures_mpi_inf_3dhp as inf
import numpy as np
import pytest
from scipy.io import savemat

from vergence import plugins
from vergence.batches.dataset import Selected
from vergence.cli import main
from vergence.errors import VergenceError
from vergence.evaluation.external import read_predictions, score_protocol
from vergence.protocols.base import Protocol, get_protocol
from vergence.protocols.keypoints import KeypointProtocol
from vergence.skeleton import H36M_17, get_skeleton
from vergence.training.sources import open_source, protocol_source

SIDE = 32
# those that compare poses as they come; Zhou's change them first, others need no truth or search images (tests of their own)
PROTOCOLS = {name: plugins.protocols[name] for name in plugins.protocols}
NAMES = sorted(name for name, p in PROTOCOLS.items() if not (p.fit or p.retrieval or p.without_truth))
OWN = {"human36m": "h36m_17", "mpi_inf_3dhp": "mpi_inf_17", "mpii": "mpii_16", "coco": "coco_17"}
STRICT_AUC = 100 * 30 / 31


def write_human36m(root: Path) -> None:
    h36m.write_official(root, h36m.make_truth(frames=2))


def write_3dhp(root: Path) -> None:
    base = root / "mpi_inf_3dhp_test_set"
    for number, seed, valid in ((1, 3, [0, 2]), (5, 5, [1, 2])):
        inf.write_test(base, number, inf.studio(3, seed=seed, views=1), 0, valid=valid, activity=[1, 2, 7])


def write_mpii(root: Path) -> None:
    data = flat.shots()
    flat.write_mpii_json(root, data, flat.mpii_rows(data), "valid")
    boxes = flat.head_boxes(len(data.images)).reshape(-1, 2, 2).transpose(1, 2, 0)
    savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": boxes})


def write_coco(root: Path) -> None:
    data = flat.shots()
    flat.write_coco(root, data, flat.coco(data), "val")


WRITERS: dict[str, Callable[[Path], None]] = {
    "human36m": write_human36m, "mpi_inf_3dhp": write_3dhp, "mpii": write_mpii, "coco": write_coco,
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a dataset, written when it is first asked for."""
    base = tmp_path_factory.mktemp("protocols")

    def root(kind: str) -> Path:
        if not (base / kind).is_dir():
            (base / kind).mkdir()
            WRITERS[kind](base / kind)
        return base / kind

    return root


@pytest.fixture(scope="module")
def shards(roots) -> Callable[[Protocol], Path]:
    """Shards for a protocol; one folder of all frames of Human3.6M serves all of its."""

    def folder(protocol: Protocol) -> Path:
        kind = protocol.dataset
        name = "h36m" if kind == "human36m" else "3dhp-true-size" if protocol.name == "3dhp-scaled" else protocol.name
        out = roots(kind).parent / f"shards-{name}"
        if not out.is_dir():
            line = f"{{kind: {kind}, path: {roots(kind)}, protocol: {name}}}"
            words = ["--size", str(SIDE), "--skeleton", OWN[kind], "--quiet", "--workers", "1"]
            assert main(["data", "prepare", line, "--out", str(out), *words]) == 0
        return out

    return folder


def predictions(path: Path, dataset, skeleton, change=lambda x: x, **more) -> Path:
    """The truth as others would predict it: of the full image's camera or pixels."""
    records = dataset.records
    key = {name: getattr(records, name) for name in ("sequence", "view", "frame")}
    if np.isfinite(records.pose).any():
        more = {"pose": change(records.pose.astype(float)), "unit": "mm", **more}
    else:
        more = {"keypoints": change(records.keypoints.astype(float)), **more}
    np.savez(path, joint_names=np.array(skeleton.joint_names), **key, **more)
    return path


def expected(protocol: Protocol, average) -> dict[str, float]:
    """What the truth scores; size classes of COCO without people score nothing. One threshold of an AUC is 0 mm, which what
    was turned from one camera to another does not meet."""
    if isinstance(protocol, KeypointProtocol):
        return {name: 100.0 for name in protocol.columns if not np.isnan(average[name])}
    assert all(average[f.name] >= STRICT_AUC - 0.02 for f in protocol.figures if f.measure == "auc")
    return {f.name: 0.0 if f.measure == "error" else 100.0 for f in protocol.figures if f.measure != "auc"}


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_without_error_on_files_and_on_shards(roots, shards, tmp_path, name):
    protocol = get_protocol(name)
    skeleton = get_skeleton(OWN[protocol.dataset])
    files = open_source(protocol_source(name, str(roots(protocol.dataset))), SIDE, skeleton.name)
    packed = open_source(protocol_source(name, str(shards(protocol))), SIDE, skeleton.name)
    assert isinstance(packed, Selected)
    assert len(packed) == len(files)
    true = read_predictions(predictions(tmp_path / "true.npz", files, skeleton))
    rolled = predictions(tmp_path / "rolled.npz", files, skeleton, lambda x: np.roll(x, 1, axis=1))
    for dataset in (files, packed):
        table, how, missing = score_protocol(protocol, true, dataset, skeleton)
        assert (missing, how["left_out"], table.poses) == (0, {}, len(files))
        wanted = expected(protocol, table.average)
        assert {key: table.average[key] for key in wanted} == pytest.approx(wanted, abs=0.02)
        assert all(set(table.tables[group]) for group in protocol.tables)
        other, _, _ = score_protocol(protocol, read_predictions(rolled), dataset, skeleton)
        for key in ("PCKh@0.1", "OKS", "AP", "MPJPE", "P-MPJPE"):
            if key in wanted:
                assert abs(other.average[key] - wanted[key]) > 20, key
    assert score_protocol(protocol, true, files, skeleton)[0].tables == table.tables


@pytest.mark.parametrize(("name", "most"), [("h36m-zhou", 60), ("3dhp-zhou", 0)])
def test_zhous_protocols_size_poses_of_a_file_themselves(roots, tmp_path, name, most):
    """True poses free of scale: figures are those of the same poses in mm, and near the best but for the moved joints."""
    protocol = get_protocol(name)
    skeleton = get_skeleton(OWN[protocol.dataset])
    files = open_source(protocol_source(name, str(roots(protocol.dataset))), SIDE, skeleton.name)
    found = {}
    for unit, factor in (("mm", 1.0), ("free", 0.01)):
        path = predictions(tmp_path / f"{unit}.npz", files, skeleton, lambda x: factor * x, unit=unit)  # noqa: B023
        found[unit], how, _ = score_protocol(protocol, read_predictions(path), files, skeleton)
        assert how["left_out"] == {}
        assert how["true_depth_or_scale_used"] is (name == "3dhp-zhou")
        assert "14" in how["scale"]
    assert found["free"].average == pytest.approx(found["mm"].average, abs=0.01)
    assert found["mm"].average.get("PCK", 100) == 100
    assert 0 < found["mm"].average.get("MPJPE", most / 2 + 0.1) < most + 1


@pytest.mark.parametrize("name", ["h36m-retrieval", "mpii-zhou"])
def test_what_a_file_of_poses_cannot_be_measured_by(roots, tmp_path, name):
    protocol = get_protocol(name)
    skeleton = get_skeleton(OWN[protocol.dataset])
    files = open_source(protocol_source(name, str(roots(protocol.dataset))), SIDE, skeleton.name)
    path = predictions(tmp_path / "a.npz", files, skeleton)
    with pytest.raises(VergenceError, match="not poses from a file"):
        score_protocol(protocol, read_predictions(path), files, skeleton)


def test_the_command_scores_a_file_and_says_what_is_missing(roots, tmp_path, capsys):
    root = roots("mpi_inf_3dhp")
    files = open_source(protocol_source("3dhp", str(root)), SIDE, "mpi_inf_17")
    skeleton = get_skeleton("mpi_inf_17")
    path = predictions(tmp_path / "theirs.npz", files, skeleton)
    words = ["evaluate", "--predictions", str(path), "--data", str(root), "--protocol"]
    assert main([*words, "3dhp"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("protocol 3dhp", "green_screen", "outdoor", "univ_annot3", "100.0", "96.8"):
        assert word in said
    predictions(path, files, skeleton, unit="free")
    assert main([*words, "3dhp-scaled"]) == 0
    assert main([*words, "3dhp-true-size"]) == 2  # every figure needs a scale
    assert "unit is free" in capsys.readouterr().err
    predictions(path, files, skeleton, lambda x: x / 1000)
    assert main([*words, "3dhp"]) == 2
    assert "0.001 times as long" in capsys.readouterr().err
    with np.load(path) as file:
        part = {k: v[:3] if v.shape[:1] == (4,) else v for k, v in file.items()}
    np.savez(path, **part | {"pose": part["pose"] * 1000})
    assert main([*words, "3dhp"]) == 2
    assert "1 of 4 samples have no prediction" in capsys.readouterr().err
    assert main([*words, "3dhp", "--partial"]) == 0
    assert "1 samples have no prediction" in capsys.readouterr().out
    assert main([*words, "mpii-pckh"]) == 2
    assert "Give the folder that holds `images`" in capsys.readouterr().err


def test_a_protocols_joints_are_enough(roots, tmp_path):
    """Files of 15 joints: those measured, and the root. What the others are nobody asks."""
    files = open_source(protocol_source("h36m-s11-14", str(roots("human36m"))), SIDE, "h36m_17")
    some = [H36M_17.index(name) for name in (*get_protocol("h36m-s11-14").joints, "pelvis")]
    path = tmp_path / "some.npz"
    key = {name: getattr(files.records, name) for name in ("sequence", "view", "frame")}
    names = np.array(H36M_17.joint_names)[some]
    np.savez(path, joint_names=names, unit="mm", pose=files.records.pose[:, some], **key)
    table, _, _ = score_protocol(get_protocol("h36m-s11-14"), read_predictions(path), files, H36M_17)
    assert table.average["P-MPJPE"] < 0.02
    with pytest.raises(VergenceError, match="no neck_nose, which"):
        score_protocol(get_protocol("h36m-s11"), read_predictions(path), files, H36M_17)
    with pytest.raises(VergenceError, match="no 2D keypoints"):
        score_protocol(get_protocol("mpii-pckh"), read_predictions(path), files, H36M_17)


@pytest.mark.parametrize(
    ("made_for", "asked", "said"),
    [
        ("h36m-64", "h36m", "step: 1, and .* holds step: 64"), ("h36m-s11", "h36m-64", "split: test, and .* holds split: S11"),
        ("3dhp", "3dhp-true-size", "universal: False, and .* holds universal: True"),
        ("mpii-pckh", "coco-oks", "measured on coco, and .* holds mpii"),
    ],
)  # fmt: skip
def test_shards_of_other_images_are_refused(roots, tmp_path, made_for, asked, said):
    protocol = get_protocol(made_for)
    line = f"{{kind: {protocol.dataset}, path: {roots(protocol.dataset)}, protocol: {made_for}}}"
    out = tmp_path / "shards"
    assert main(["data", "prepare", line, "--out", str(out), "--size", str(SIDE), "--quiet"]) == 0
    with pytest.raises(VergenceError, match=said):
        open_source(protocol_source(asked, str(out)), SIDE, "h36m_17")


def test_joints_that_a_skeleton_lacks_are_named(roots, tmp_path):
    root = str(roots("coco"))
    files = open_source(protocol_source("coco-oks", root), SIDE, "coco_17")
    path = predictions(tmp_path / "a.npz", files, get_skeleton("coco_17"))
    flat_ = open_source(protocol_source("coco-oks", root), SIDE, "h36m_17")
    with pytest.raises(VergenceError, match=r"needs nose, left_eye.*coco-oks-body"):
        score_protocol(get_protocol("coco-oks"), read_predictions(path), flat_, H36M_17)
    table, _, _ = score_protocol(get_protocol("coco-oks-body"), read_predictions(path), flat_, H36M_17)
    assert table.average["OKS"] == pytest.approx(100)
