"""Methods by their names in recipes: built around a network, and what of the recipe they read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vergence import plugins
from vergence.errors import VergenceError
from vergence.methods.base import Method
from vergence.methods.supervised import Supervised
from vergence.networks.hourglass import StackedHourglass
from vergence.networks.pose_network import PoseNetwork
from vergence.recipes.recipe import NetworkSettings, TrainStage
from vergence.skeleton import get_skeleton


def build_method(name: str, network: NetworkSettings, skeleton: str, pretrained: bool = True) -> Method:
    """The method of that name (`plugins.methods`) around a new network.

    Raises:
        VergenceError: no method is called so, or it does not go with the network.
    """
    method = plugins.methods[name]
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise VergenceError(f"{name} is no method", "It must be a class that derives from vergence.Method.")
    joints = get_skeleton(skeleton)
    if network.backbone == "hourglass":
        if name != "geometric_constraint":
            raise VergenceError(
                f"method {name} does not train a hourglass", "Use method: geometric_constraint with it."
            )
        return method(StackedHourglass(network, len(joints)), joints)
    return method(PoseNetwork(network, len(joints), pretrained), joints)


def trained_as(name: str, network: NetworkSettings, stage: TrainStage) -> str:
    """The method that carries out a stage from a new network: `supervised` where it learns nothing but that network's 2D,
    so that all methods learn it alike and can share it; else the method itself. A method from outside may mean something
    else by the same names, and always carries out its own."""
    plain = len(stage.losses) > 0 and set(stage.losses) <= Supervised.TWO_DIMENSIONAL and not stage.frozen
    ours = plugins.methods[name].__module__.startswith("vergence.methods.")
    return "supervised" if plain and ours and network.backbone != "hourglass" else name


def own_settings(name: str, network: NetworkSettings) -> dict[str, Any]:
    """The network's settings that the method reads."""
    return {k: v for k, v in asdict(network).items() if name == "mcss" or not k.startswith("pose_")}
