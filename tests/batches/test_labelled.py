"""Joints that labels show, and those that a network can have learned from them."""

from __future__ import annotations

import torch

from vergence.batches.labelled import Labelled
from vergence.batches.views import Views
from vergence.skeleton import COCO_17, H36M_17

JOINTS = frozenset(H36M_17.joint_names)
NO_HEAD = JOINTS - {"head_top"}


def views(flat=(), deep=()) -> Views:
    """Ten images, of which the last shows some joints in 2D and some in 3D."""
    some = Views.empty(10, 17, 0, 0)
    for name in flat:
        some.keypoints[9, H36M_17.index(name)] = 3.0
        some.confidence[9, H36M_17.index(name)] = 0.4
    for name in deep:
        some.pose[9, H36M_17.index(name)] = 1.0
    return some


def test_one_label_anywhere_shows_a_joint():
    found = Labelled.of([views(["spine"]), views(["thorax"], ["pelvis"])], H36M_17)
    assert found == Labelled(frozenset({"spine", "thorax"}), frozenset({"pelvis"}))
    assert found | Labelled(frozenset({"left_hip"})) == Labelled(
        frozenset({"spine", "thorax", "left_hip"}), frozenset({"pelvis"})
    )
    assert Labelled.read(found.plain(H36M_17)) == found
    assert Labelled.read(None) is None


def test_labels_of_no_weight_show_nothing():
    some = views(["spine"], ["spine"])
    assert Labelled.of([some.replace(confidence=torch.zeros(10, 17))], H36M_17).keypoints == frozenset()
    assert Labelled.of([some.replace(pose_weight=torch.zeros(10, 17))], H36M_17).pose == frozenset()


def test_what_can_have_been_learned():
    def absent(labelled, frame="camera"):
        return [
            [n for n, known in zip(H36M_17.joint_names, mask.tolist()) if not known]
            for mask in labelled.taught(H36M_17, frame)
        ]

    assert absent(Labelled(JOINTS, NO_HEAD)) == [[], ["head_top"]]
    assert absent(Labelled(NO_HEAD, JOINTS)) == [["head_top"], ["head_top"]]
    assert absent(Labelled(NO_HEAD, JOINTS), "canonical") == [["head_top"], []]
    assert absent(Labelled(NO_HEAD)) == [["head_top"], ["head_top"]]  # 3D by consistency between views alone
    assert absent(Labelled(frozenset(), NO_HEAD)) == [["head_top"], ["head_top"]]
    assert absent(Labelled()) == [[], []]
    assert len(Labelled(JOINTS).taught(COCO_17)[0]) == 17
