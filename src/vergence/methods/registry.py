"""Short names of the methods, for recipes."""

from __future__ import annotations

from vergence.errors import VergenceError
from vergence.methods.base import Method
from vergence.methods.epipolar_pose import EpipolarPose
from vergence.methods.multiview_consistency import MultiViewConsistency
from vergence.methods.supervised import Supervised
from vergence.networks.pose_network import PoseNetwork
from vergence.recipe import NetworkSettings
from vergence.skeleton import get_skeleton

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "epipolar_pose": EpipolarPose,
    "multiview_consistency": MultiViewConsistency,
}


def build_method(name: str, network: NetworkSettings, skeleton: str, pretrained: bool = True) -> Method:
    """The method of that name around a new network."""
    if name not in METHODS:
        raise VergenceError(f"no method is called {name!r}", f"Known: {', '.join(METHODS)}.")
    joints = get_skeleton(skeleton)
    return METHODS[name](PoseNetwork(network, len(joints), pretrained), joints)
