"""Short names of the methods, for recipes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vergence.errors import VergenceError
from vergence.methods.base import Method
from vergence.methods.epipolar_pose import EpipolarPose
from vergence.methods.geometric_constraint import GeometricConstraint
from vergence.methods.mcss import MCSS
from vergence.methods.multiview_consistency import MultiViewConsistency
from vergence.methods.supervised import Supervised
from vergence.networks.hourglass import StackedHourglass
from vergence.networks.pose_network import PoseNetwork
from vergence.recipes.recipe import NetworkSettings, TrainStage
from vergence.skeleton import get_skeleton

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "epipolar_pose": EpipolarPose,
    "multiview_consistency": MultiViewConsistency,
    "geometric_constraint": GeometricConstraint,
    "mcss": MCSS,
}


def build_method(name: str, network: NetworkSettings, skeleton: str, pretrained: bool = True) -> Method:
    """The method of that name around a new network."""
    if name not in METHODS:
        raise VergenceError(f"no method is called {name!r}", f"Known: {', '.join(METHODS)}.")
    joints = get_skeleton(skeleton)
    if network.backbone == "hourglass":
        if name != "geometric_constraint":
            raise VergenceError(
                f"method {name} does not train a hourglass", "Use method: geometric_constraint with it."
            )
        return GeometricConstraint(StackedHourglass(network, len(joints)), joints)
    return METHODS[name](PoseNetwork(network, len(joints), pretrained), joints)


def trained_as(name: str, network: NetworkSettings, stage: TrainStage) -> str:
    """The method that carries out a stage from a new network: `supervised` where it learns nothing but that network's 2D,
    so that all methods learn it alike and can share it; else the method itself."""
    plain = len(stage.losses) > 0 and set(stage.losses) <= Supervised.TWO_DIMENSIONAL
    return "supervised" if plain and not stage.frozen and network.backbone != "hourglass" else name


def own_settings(name: str, network: NetworkSettings) -> dict[str, Any]:
    """The network's settings that the method reads."""
    return {k: v for k, v in asdict(network).items() if name == "mcss" or not k.startswith("pose_")}
