"""`vergence import-weights`: weights that others released, as a run."""

from __future__ import annotations

from pathlib import Path


def import_weights(
    checkpoint: Path,
    out: Path,
    image_size: int = 256,
    depth_bins: int = 64,
    box_mm: float = 2000.0,
    bone_mm: float = 480.0,
) -> None:
    """Makes a run of an EpipolarPose checkpoint (ResNet, deconv_layers, final_layer), for evaluate, predict and compare.

    Example: vergence import-weights MPII-integral.pth --out runs/released

    Args:
        checkpoint: .pth file.
        out (FOLDER): the run's folder, new.

    What the file does not say (--image-size 256 --box-mm 2000):
        image_size: side of the crops it was trained on, px.
        depth_bins: slices of its volume.
        box_mm (MM): depth of its volume, mm.
        bone_mm (MM): pelvis to thorax, mm: converts the volume's depth to reference bones, the unit of predictions.
    """
    from dataclasses import asdict

    import yaml

    from vergence.errors import VergenceError
    from vergence.files import write_text
    from vergence.folders import is_empty
    from vergence.inference.estimator import save
    from vergence.methods.registry import build_method
    from vergence.networks.released import read_pose_resnet
    from vergence.recipes.recipe import Recipe

    for name, value in (
        ("image_size", image_size - 31),
        ("depth_bins", depth_bins),
        ("box_mm", box_mm),
        ("bone_mm", bone_mm),
    ):
        if not value > 0:
            raise VergenceError(
                f"--{name.replace('_', '-')} is too small", "Give a size of 32 or more, the others above 0."
            )
    if out.exists() and (not out.is_dir() or not is_empty(out)):
        raise VergenceError(f"{out} is not empty", "Choose a new folder.")
    released = read_pose_resnet(checkpoint, depth_bins, box_mm, bone_mm)
    method = build_method("epipolar_pose", released.network, released.skeleton, pretrained=False)
    method.network.load_state_dict(released.weights)
    method.mirrored = False
    recipe = Recipe("epipolar_pose", released.skeleton, image_size, released.network)
    write_text(
        out / "recipe.yaml",
        f"# weights of {checkpoint.name}, not trained here\n{yaml.safe_dump(asdict(recipe), sort_keys=False)}",
    )
    save(method, out, "epipolar_pose", released.network, image_size, adopted=checkpoint.name)
    print(f"{out}: {released.network.backbone}, {released.skeleton}, {image_size} px")


import_weights.named = ("out",)  # type: ignore[attr-defined]
import_weights.takes = "5 to 20 s"  # type: ignore[attr-defined]
