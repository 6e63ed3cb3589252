#!/bin/sh
# A UsdSkel animation that has translations and rotations but no scales is ignored: its query is valid, the skeleton stands
# in its rest pose, and nothing is said. The same happens where the relationship to the animation is there but BindingAPI
# is not applied to the skeleton's prim. A writer of animations must give scales (all 1) and apply the API.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet usd-core==26.11 || exit 2
cd "$folder"
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from pxr import Gf, Usd, UsdSkel


def height(scales: bool, applied: bool) -> tuple[bool, float]:
    """Whether there is an animation, and how high it lifts a skeleton of two joints that it moves up by 5."""
    stage = Usd.Stage.CreateInMemory()
    root, skeleton = UsdSkel.Root.Define(stage, "/r"), UsdSkel.Skeleton.Define(stage, "/r/skeleton")
    animation = UsdSkel.Animation.Define(stage, "/r/animation")
    bone = Gf.Matrix4d(1).SetTranslateOnly((0, 1, 0))
    for prim in (skeleton, animation):
        prim.CreateJointsAttr(["hip", "hip/knee"])
    skeleton.CreateBindTransformsAttr([Gf.Matrix4d(1), bone])
    skeleton.CreateRestTransformsAttr([Gf.Matrix4d(1), bone])
    animation.CreateTranslationsAttr().Set([Gf.Vec3f(0, 0, 5), Gf.Vec3f(0, 1, 0)], 1.0)
    animation.CreateRotationsAttr().Set([Gf.Quatf(1), Gf.Quatf(1)], 1.0)
    if scales:
        animation.CreateScalesAttr().Set([Gf.Vec3h(1, 1, 1)] * 2)
    prim = skeleton.GetPrim()
    binding = UsdSkel.BindingAPI.Apply(prim) if applied else UsdSkel.BindingAPI(prim)
    binding.CreateAnimationSourceRel().SetTargets(["/r/animation"])
    cache = UsdSkel.Cache()
    cache.Populate(root, Usd.PrimDefaultPredicate)
    query = cache.GetSkelQuery(skeleton)
    joints = query.ComputeJointSkelTransforms(1.0)
    return bool(query.GetAnimQuery()), float(joints[0].ExtractTranslation()[2])


print("usd-core", version("usd-core"))
seen = []
for scales, applied in ((True, True), (False, True), (True, False)):
    seen.append(height(scales, applied))
    words = f"scales {'given' if scales else 'missing'}, BindingAPI {'applied' if applied else 'not applied'}"
    print(f"  {words}: animation found {seen[-1][0]}, hip at {seen[-1][1]:g}, wanted 5")
expected = [(True, 5.0), (True, 0.0), (False, 0.0)]
raise SystemExit(0 if seen == expected else "changed: this finding no longer holds as described")
PYTHON
