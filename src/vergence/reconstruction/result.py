"""A reconstruction as one object: what was found in some footage, how good it is, and the folder it is kept in.

    rig.toml      the cameras, anipose layout (`footage.calibrations`)
    Calib.toml, camera_array.toml   the same for Pose2Sim and caliscope; never read back
    poses.npz     the poses to the last bit, with unit, frame rate and each joint's weight
    poses.csv, poses.trc, ...   the same for other tools; never read back
    angles.csv    joint angles with their deviations; never read back
    limbs.csv     limb lengths; never read back
    results.json  figures, verdict and everything that was decided on the way
    capture.toml  the footage, where its cameras' offsets were found in the motion or its keypoints lie in this folder

`save` writes them and `load` reads them, so that nobody else needs to know which file holds what. What only the solver
knows (which views agree with which joint, the footage itself) is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vergence import __version__, outputs
from vergence.errors import VergenceError, said
from vergence.files import from_plain, plain, read_json, write_json
from vergence.footage.calibrations.toml_rigs import read_rig_toml
from vergence.footage.calibrations.writing import write_caliscope_toml, write_pose2sim_toml, write_rig_toml
from vergence.footage.capture import Capture
from vergence.footage.capture_writer import write_capture
from vergence.footage.observations import Observations
from vergence.footage.subject import SubjectChoice
from vergence.geometry.cameras import Rig
from vergence.outputs import ASSUMED_STATURE_MM, PoseSequence
from vergence.outputs.angles import write_angles
from vergence.outputs.limbs import write_limbs
from vergence.outputs.world import GIVEN
from vergence.reconstruction.inputs import REPORT_CONFIDENCE
from vergence.reconstruction.quality import Report
from vergence.reconstruction.solve import Solution
from vergence.skeleton import Skeleton

COUNTED = f"with confidence above {REPORT_CONFIDENCE}"
WHAT_IS_WHAT = {
    "reprojection": f"px of the full image, distorted, all input points {COUNTED}",
    "coverage": f"share of (frame, joint); coverage_of_points: of input points {COUNTED}",
    "limb_cv": "standard deviation over mean of each limb's length",
}
PINHOLE_ONLY = (
    "Pose2Sim passes over `fisheye = true`, and places joints wrongly; undistort its keypoints and zero the distortions"
)


@dataclass(frozen=True)
class Reconstruction:
    """3D poses of one person and the cameras that saw it.

    Attributes:
        poses: joints over time, in the rig's world and unit; `poses.confidence` is each joint's weight in [0, 1].
        rig: the cameras in the footage's order, `x_cam = R x + t`.
        report: figures, and the reasons against the result.
        subject: how the person was chosen among all that were seen.
        extrinsics: `estimated`, `as given` by the footage, or `adjusted` from there.
        intrinsics: `estimated` (the focal lengths) or `given`.
        coverage_of_points: share of the input points with confidence above 0.3 whose joint was reconstructed.
        notes: decisions and corrections while reading.
        settings: of the call that made it.
        seconds: time that it took.
        version: of Vergence.
        capture: its footage, and `observations`, the keypoints in it; None where it was loaded.
        solution: as it was solved, with each view's part in each joint; None where it was loaded.
        synchronisation: how the cameras' times were brought together, as results.json says it.
    """

    poses: PoseSequence
    rig: Rig
    report: Report
    subject: SubjectChoice
    extrinsics: str
    intrinsics: str
    coverage_of_points: float
    notes: tuple[str, ...]
    settings: dict[str, Any]
    seconds: float
    version: str = __version__
    capture: Capture | None = None
    observations: Observations | None = None
    solution: Solution | None = None
    synchronisation: dict[str, Any] = field(default_factory=dict)

    @property
    def skeleton(self) -> Skeleton:
        return self.poses.skeleton

    @property
    def verdict(self) -> str:
        """`good`, or `doubtful` where the geometry or the choice of the person is."""
        return "doubtful" if self.subject.verdict == "doubtful" else self.report.verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against it, in sentences."""
        if self.subject.verdict != "doubtful":
            return self.report.reasons
        return (*self.report.reasons, f"the subject may be the wrong person: {self.subject.reason}")

    @property
    def world(self) -> str:
        """Where poses and cameras stand, in words."""
        given = self.extrinsics != "estimated"
        return "as given" if given else f"frame of the first camera, {self.rig.cameras[0].name}"

    def results(self) -> dict[str, Any]:
        """What results.json says of it, but for the files' own part."""
        return {
            "verdict": self.verdict,
            "reasons": self.reasons,
            "unit": self.poses.unit,
            "reprojection_px": {
                "median": self.report.reprojection_median,
                "p90": self.report.reprojection_p90,
                "per_camera": dict(zip((c.name for c in self.rig.cameras), self.report.reprojection_per_camera)),
                "per_joint": self.report.reprojection_per_joint,
            },
            "limb_cv": self.report.limb_cv,
            "coverage": self.report.coverage,
            "coverage_of_points": self.coverage_of_points,
            "cameras": {
                camera.name: {
                    "R": camera.rotation,
                    "t": camera.translation,
                    "K": camera.intrinsics,
                    "distortion": camera.coefficients,
                    **({"fisheye": True} if camera.fisheye else {}),
                    "image_size": camera.image_size,
                }
                for camera in self.rig.cameras
            },
            "world": self.world,
            "up": self.poses.up,
            "protocol": {
                "extrinsics": self.extrinsics,
                "intrinsics": self.intrinsics,
                **WHAT_IS_WHAT,
                "settings": self.settings,
            },
            "subject": self.subject,
            "joints": self.poses.joint_names,
            "skeleton": self.skeleton.name,
            "fps": self.poses.fps,
            "notes": self.notes,
            "synchronisation": self.synchronisation,
            "report": self.report,
            "version": self.version,
        }

    def save(
        self, folder: Path | str, formats: Sequence[str] = ("npz", "csv", "trc"), **options: Any
    ) -> dict[str, Any]:
        """Writes the folder, each file atomically.

        Args:
            folder: made where it is missing.
            formats: of the poses, by their exporters' names; poses.npz is written in any case, since `load` reads it.
            **options: by format, what its exporter takes: `trc={"markers": "pose2sim"}`.

        Returns:
            What results.json holds.

        Raises:
            VergenceError: no such format, or a file cannot be written.
        """
        folder = Path(folder)
        notes = outputs.write(folder, self.poses, dict.fromkeys(("npz", *formats)), **options)
        rig = replace(self.rig, doubtful=self.report.verdict == "doubtful")
        write_rig_toml(folder / "rig.toml", rig, self.report.reprojection_median)
        if self.capture is not None and (self._moved or _keeps_keypoints(folder, self.capture)):
            write_capture(folder / "capture.toml", self.capture)
        notes |= self._write_rigs(folder, rig)
        write_angles(folder / "angles.csv", self.poses, None if self.solution is None else self.solution.deviation)
        write_limbs(folder / "limbs.csv", self.poses)
        said = {name: note for name, note in notes.items() if note}
        results = self.results() | {"trc": self._trc(notes), "seconds": self.seconds}
        results |= {"files": said, "placed": self.poses.known_world}
        write_json(folder / "results.json", results)
        return dict(plain(results))

    @property
    def _moved(self) -> bool:
        """Whether the footage's times are other ones than the capture stated."""
        return self.capture is not None and self.capture.synchronised and "cameras" in self.synchronisation

    def _write_rigs(self, folder: Path, rig: Rig) -> dict[str, str]:
        """The rig for other programs, which want metres: where the scale is not known, as large as in poses.trc.

        Returns what a reader of a file must know.
        """
        world = self.poses.known_world
        if world is None:  # nobody's size was ever seen
            return {}
        assumed = "" if world.scale_from == GIVEN else world.note.split(";")[0]
        write_pose2sim_toml(folder / "Calib.toml", rig, world.mm_per_unit / 1000, world.up, assumed)
        write_caliscope_toml(folder / "camera_array.toml", rig, world.mm_per_unit / 1000, assumed)
        return {"Calib.toml": PINHOLE_ONLY} if any(camera.fisheye for camera in rig) else {}

    def _trc(self, notes: dict[str, str]) -> dict[str, Any]:
        """What a reader of poses.trc must know."""
        if "trc" not in notes:
            return {"written": False, "note": ""}
        assumed = {} if self.poses.unit == "mm" else {"assumed_stature_mm": ASSUMED_STATURE_MM}
        scale = self.poses.in_world().mm_per_unit
        return {"written": True, "unit": "mm", "scale": scale, "note": notes["trc"], **assumed}

    @classmethod
    def load(cls, folder: Path | str) -> Reconstruction:
        """What `save` or `vergence reconstruct` wrote.

        Poses come back exactly, cameras to within the rounding of their text (1e-15).

        Raises:
            VergenceError: a file is missing or damaged, or they are of different reconstructions.
        """
        folder = Path(folder)
        poses = outputs.read_npz(folder / "poses.npz")
        cameras = read_rig_toml(folder / "rig.toml").cameras
        results = read_json(folder / "results.json")
        try:
            names, protocol = list(results["cameras"]), results["protocol"]
            found = cls(
                poses=poses,
                rig=Rig(cameras, poses.unit),
                report=from_plain(Report, results["report"], gap=np.inf, mirror_gap=np.inf),
                subject=from_plain(SubjectChoice, results["subject"]),
                extrinsics=protocol["extrinsics"],
                intrinsics=protocol["intrinsics"],
                coverage_of_points=_number(results["coverage_of_points"]),
                notes=tuple(results["notes"]),
                settings=protocol["settings"],
                seconds=_number(results["seconds"]),
                version=results["version"],
                synchronisation=results.get("synchronisation", {}),
            )
        except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            raise VergenceError(
                f"{folder / 'results.json'} is not a reconstruction's: {said(error)}", "Run vergence reconstruct again."
            ) from error
        if names != [camera.name for camera in cameras] or results["unit"] != poses.unit:
            raise VergenceError(f"the files of {folder} are of different reconstructions", "Reconstruct again.")
        return found


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _keeps_keypoints(folder: Path, capture: Capture) -> bool:
    files = [camera.keypoints for camera in capture.cameras if camera.keypoints is not None]
    return any(file.resolve().is_relative_to(folder.resolve()) for file in files)
