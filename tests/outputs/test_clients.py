"""Our files in the programs that people open them with: each reads what was written and says what it saw.

Programs that are not installed are skipped (`pip install -e .[clients]`; Blender's `bpy` and Pose2Sim's models need
environments of their own, since their numpy and OpenCV are other ones). `VERGENCE_CLIENTS` names the Pythons of such
environments, joined by `:`; a program is looked for in this Python first, then in those.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_scene import walking

from vergence.outputs import PoseSequence, options, write
from vergence.outputs.kinematics import fit_kinematics
from vergence.skeleton import H36M_17, HALPE_26

Z_UP = np.array([0.0, 0.0, 1.0])
FPS, FRAMES = 60.0, 40


@functools.cache
def python_of(module: str) -> str:
    """The Python that has a module, or nothing."""
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    for python in filter(None, os.environ.get("VERGENCE_CLIENTS", "").split(os.pathsep)):
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return python
    return ""


def ask(module: str, script: str, folder: Path) -> dict:
    """What a script prints as its last line, JSON; run in the folder of the files by the Python that has the module."""
    python = python_of(module)
    if not python:
        pytest.skip(f"{module} is not installed")
    (folder / "client.py").write_text("import json\nimport numpy as np\n" + script)
    done = subprocess.run([python, "client.py"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def walk() -> np.ndarray:
    """The walk of 1.7 m tall, mm, z up: 17 joints of Human3.6M."""
    return walking(FRAMES) * 1.02


def person() -> PoseSequence:
    """The same as HALPE_26 with feet, nose and eyes, and a gap in one wrist."""
    pose = walk()
    out = H36M_17.convert(pose, HALPE_26)
    across = pose[:, H36M_17.index("left_hip")] - pose[:, H36M_17.index("right_hip")]
    forward = np.cross(across, Z_UP)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    left = across / np.linalg.norm(across, axis=1, keepdims=True)
    head = pose[:, H36M_17.index("neck_nose")] + 30 * Z_UP
    out[:, HALPE_26.index("nose")] = head + 60 * forward
    for side, sign in (("left", 1), ("right", -1)):
        out[:, HALPE_26.index(f"{side}_eye")] = head + 40 * forward + sign * 30 * left + 30 * Z_UP
        out[:, HALPE_26.index(f"{side}_ear")] = head + sign * 70 * left
        ankle = out[:, HALPE_26.index(f"{side}_ankle")]
        for part, ahead, aside in (("big_toe", 170, -20), ("small_toe", 140, 50), ("heel", -50, 0)):
            out[:, HALPE_26.index(f"{side}_{part}")] = ankle + ahead * forward + sign * aside * left - 60 * Z_UP
    out[10:14, HALPE_26.index("left_wrist")] = np.nan
    return PoseSequence(out, HALPE_26.joint_names, FPS, "mm", Z_UP)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(tmp_path, person(), ["trc"], **options("pose2sim"))
    write(tmp_path, PoseSequence(walk(), H36M_17.joint_names, FPS, "mm", Z_UP), ["bvh", "usd"])
    return tmp_path


C3D = """
import ezc3d
file = ezc3d.c3d("poses.c3d")
points = file["data"]["points"][:3].transpose(2, 1, 0)
residual = file["data"]["meta_points"]["residuals"][0].T
print(json.dumps(dict(points=np.nan_to_num(points, nan=-1).tolist(), gaps=np.isnan(points).any(2).tolist(),
    negative=(residual < 0).tolist(), rate=file["header"]["points"]["frame_rate"],
    unit=file["parameters"]["POINT"]["UNITS"]["value"][0], labels=file["parameters"]["POINT"]["LABELS"]["value"])))
"""
C3D_PLAIN = """
import c3d
with open("poses.c3d", "rb") as handle:
    reader = c3d.Reader(handle)
    frames = [points for _, points, _ in reader.read_frames()]
points = np.stack(frames)
print(json.dumps(dict(points=points[..., :3].tolist(), negative=(points[..., 3] < 0).tolist(), rate=float(reader.point_rate),
    labels=[label.strip() for label in reader.point_labels])))
"""
KINETICS = """
import warnings
warnings.simplefilter("ignore")
import kineticstoolkit.lab as ktk
series = ktk.read_c3d("poses.c3d")["Points"]
names = list(series.data)
print(json.dumps(dict(points=np.nan_to_num(np.stack([series.data[n][:, :3] for n in names], 1), nan=-1).tolist(),
    labels=names, rate=1 / float(np.diff(series.time).mean()))))
"""


@pytest.mark.parametrize(
    ("module", "script", "mm"), [("ezc3d", C3D, 1), ("c3d", C3D_PLAIN, 1), ("kineticstoolkit", KINETICS, 1000)]
)
def test_c3d_readers_see_the_points(tmp_path: Path, module: str, script: str, mm: float) -> None:
    """Within 0.01 mm, in the same world (z up, not mirrored), gaps where there are gaps, at the frame rate."""
    pytest.importorskip("ezc3d")
    ours = person()
    write(tmp_path, ours, ["c3d"])
    found = ask(module, script, tmp_path)
    labels = found["labels"]
    assert sorted(labels) == sorted(ours.joint_names)
    points = np.array(found["points"])[:, [labels.index(name) for name in ours.joint_names]] * mm
    seen = np.isfinite(ours.pose).all(2)
    assert np.abs(points - ours.pose)[seen].max() < 0.01
    assert found["rate"] == pytest.approx(FPS)
    assert found.get("unit", "mm") == "mm"
    if "negative" in found:
        order = [labels.index(name) for name in ours.joint_names]
        assert (np.array(found["negative"])[:, order] == ~seen).all()


USD = """
from pxr import Usd, UsdGeom, UsdSkel
stage = Usd.Stage.Open("poses.usd")
root = UsdSkel.Root(stage.GetDefaultPrim())
cache = UsdSkel.Cache()
cache.Populate(root, Usd.PrimDefaultPredicate)
skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath("/person/skeleton"))
query = cache.GetSkelQuery(skeleton)
animation = query.GetAnimQuery()
times = animation.GetJointTransformTimeSamples()
places = [[list(m.ExtractTranslation()) for m in query.ComputeJointSkelTransforms(time)] for time in times]
print(json.dumps(dict(places=places, joints=[j.split("/")[-1] for j in query.GetJointOrder()], times=list(times),
    valid=bool(animation), rest=query.HasRestPose(), bind=query.HasBindPose(), unit=UsdGeom.GetStageMetersPerUnit(stage),
    axis=str(UsdGeom.GetStageUpAxis(stage)), rate=stage.GetTimeCodesPerSecond(),
    applied=stage.GetPrimAtPath("/person/skeleton").HasAPI(UsdSkel.BindingAPI))))
"""


def test_usd_evaluates_the_animation(files: Path) -> None:
    """UsdSkel's own forward kinematics gives our joints within 0.01 mm, in metres, y up."""
    found = ask("pxr", USD, files)
    assert (found["unit"], found["axis"], found["rate"]) == (1.0, "Y", FPS)
    assert found["valid"]
    assert found["rest"]
    assert found["bind"]
    assert found["applied"]
    assert found["times"] == list(range(FRAMES))
    poses = PoseSequence(walk(), H36M_17.joint_names, FPS, "mm", Z_UP)
    fitted = fit_kinematics(poses.placed(poses.in_world(), 0.001))
    assert found["joints"] == list(fitted.joint_names)
    assert 1000 * np.abs(np.array(found["places"]) - fitted.positions()).max() < 0.01


BLENDER = """
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
{importing}
scene = bpy.context.scene
rig = next(o for o in bpy.data.objects if o.type == "ARMATURE")
heads = []
for frame in range({first}, {first} + {frames}):
    scene.frame_set(frame)
    heads.append({{b.name: list(rig.matrix_world @ b.head) for b in rig.pose.bones}})
rate = scene.render.fps / scene.render.fps_base
print()
print(json.dumps(dict(heads=heads, rate=rate, bones=len(rig.pose.bones), last=scene.frame_end)))
"""
BVH_IMPORT = """bpy.ops.import_anim.bvh(filepath="poses.bvh", global_scale=0.01, update_scene_fps=True,
    update_scene_duration=True, rotate_mode="QUATERNION")"""
USD_IMPORT = """bpy.ops.wm.usd_import(filepath="poses.usd")
bpy.context.scene.render.fps = 60"""


@pytest.mark.parametrize(
    ("importing", "first", "tolerance"), [(BVH_IMPORT, 1, 0.02), (USD_IMPORT, 0, 0.02)], ids=["bvh", "usd"]
)
def test_blender_imports_a_person(files: Path, importing: str, first: int, tolerance: float) -> None:
    """With the settings that docs/outputs.md names: 1.7 m tall, upright (Blender's z), where we put it, at 60 fps."""
    found = ask("bpy", BLENDER.format(importing=importing, first=first, frames=FRAMES), files)
    poses = PoseSequence(walk(), H36M_17.joint_names, FPS, "mm", Z_UP)
    fitted = fit_kinematics(poses.placed(poses.in_world(), 0.001))
    truth = fitted.positions()
    truth = np.stack([truth[..., 0], -truth[..., 2], truth[..., 1]], -1)  # y up to Blender's z up
    ours = [name for name in fitted.joint_names if name in found["heads"][0]]
    assert len(ours) >= 12
    seen = np.array([[frame[name] for name in ours] for frame in found["heads"]])
    error = np.abs(seen - truth[:, [fitted.joint_names.index(name) for name in ours]]).max()
    assert 1000 * error < tolerance
    height = truth[:, fitted.joint_names.index("head_top"), 2] - truth[:, fitted.joint_names.index("left_ankle"), 2]
    assert 1.4 < np.median(height) < 1.75  # from ankle to head
    assert found["rate"] == pytest.approx(FPS)


OPENSIM = """
import opensim
from pathlib import Path
opensim.Logger.setLevelString("error")
import importlib.util
setup = Path(importlib.util.find_spec("Pose2Sim").origin).parent / "OpenSim_Setup"
opensim.ModelVisualizer.addDirToGeometrySearchPaths(str(setup / "Geometry"))
model = opensim.Model(str(setup / "Model_Pose2Sim_simple.osim"))
model.updMarkerSet().clearAndDestroy()
markers = opensim.MarkerSet(str(setup / "Markers_Halpe26.xml"))
for i in range(markers.getSize()):
    model.updMarkerSet().cloneAndAppend(markers.get(i))
model.initSystem()
model.printToXML("unscaled.osim")
data = opensim.MarkerData("poses.trc")
start, end = data.getStartFrameTime(), data.getLastFrameTime()
tool = opensim.ScaleTool(str(setup / "Scaling_Setup_Pose2Sim_Halpe26.xml"))
tool.setPathToSubject("")
tool.getGenericModelMaker().setModelFileName("unscaled.osim")
span = opensim.ArrayDouble()
span.append(start)
span.append(start + 0.1)
scaler = tool.getModelScaler()
scaler.setMarkerFileName("poses.trc")
scaler.setTimeRange(span)
scaler.setOutputModelFileName("scaled.osim")
tool.getMarkerPlacer().setApply(False)
tool.run()
state = opensim.Model("scaled.osim")
ik = opensim.InverseKinematicsTool(str(setup / "IK_Setup_Pose2Sim_Halpe26.xml"))
ik.set_model_file(str(Path("scaled.osim").resolve()))
ik.setModel(state)
ik.set_marker_file(str(Path("poses.trc").resolve()))
ik.set_results_directory(str(Path(".").resolve()))
ik.set_report_marker_locations(True)
ik.setStartTime(start)
ik.setEndTime(end)
ik.setOutputMotionFileName(str(Path("out.mot").resolve()))
done = ik.run()
motion = opensim.TimeSeriesTable("out.mot")
labels = list(motion.getColumnLabels())
table = motion.getMatrix().to_numpy()
errors = opensim.TimeSeriesTable("_ik_marker_errors.sto")
size = opensim.Model("scaled.osim")
size.initSystem()
def length(first, second):
    s = size.initSystem()
    a = size.getMarkerSet().get(first).getLocationInGround(s).to_numpy()
    b = size.getMarkerSet().get(second).getLocationInGround(s).to_numpy()
    return float(np.linalg.norm(a - b))
found = dict(unit=data.getUnits().getLabel(), markers=data.getNumMarkers(), ik=bool(done), rows=motion.getNumRows(),
    finite=bool(np.isfinite(table).all()), rms=np.array(errors.getDependentColumn("marker_error_RMS").to_numpy()).tolist(),
    thigh=length("RHip", "RKnee"), shank=length("RKnee", "RAnkle"),
    knee=table[:, labels.index("knee_angle_r")].tolist(), tilt=table[:, labels.index("pelvis_tilt")].tolist(),
    height=table[:, labels.index("pelvis_ty")].tolist())
print()
print(json.dumps(found))
"""


def test_opensim_scales_a_model_and_runs_inverse_kinematics(files: Path) -> None:
    """OpenSim takes the file as it is, Pose2Sim's model finds its markers, segments get the person's lengths."""
    if python_of("Pose2Sim") != python_of("opensim") or not python_of("opensim"):
        pytest.skip("opensim and Pose2Sim's models are not installed together")
    found = ask("opensim", OPENSIM, files)
    assert found["unit"] == "millimeters"
    assert found["markers"] == len(HALPE_26)
    assert found["ik"]
    assert found["finite"]
    assert found["rows"] == FRAMES
    pose = walk()
    for name, ends in (("thigh", (1, 2)), ("shank", (2, 3))):  # of the scaled model; the generic one has 383 and 408 mm
        length = np.linalg.norm(pose[:, ends[0]] - pose[:, ends[1]], axis=1).mean()
        assert 1000 * found[name] == pytest.approx(length, rel=0.01)
    assert np.median(found["rms"]) < 0.04  # the model's joints are not where our figure's are
    assert np.abs(np.array(found["tilt"])).max() < 20  # upright
    assert np.abs(1000 * np.array(found["height"]) - pose[:, 0, 2]).max() < 120
    thigh, shank = pose[:, 1] - pose[:, 2], pose[:, 2] - pose[:, 3]
    bend = np.degrees(np.arccos((thigh * shank).sum(1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)))
    assert np.corrcoef(found["knee"], bend)[0, 1] > 0.98  # flexion is positive: neither mirrored nor backwards
