"""What is installed, what is wrong, how to mend it.

Whatever may be broken is tried in a process of its own: a torchvision built for another torch takes the interpreter's
imports down with it, and a doctor must not catch what the patient has.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from vergence.datasets.validation.finding import Finding, State
from vergence.networks import threads
from vergence.progress import Progress, silent

COLOURS = {"good": "green", "note": "yellow", "wrong": "bold red"}  # of findings on the terminal
PROBE_SECONDS = 180
FREE_GIB = 2.0  # a run with its checkpoints and reports; less is wrong
MEMORY_GIB = 3.0  # the demo's

# Each prints one JSON object. They are what Vergence itself does first with the library.
PROBES = {
    "torch": """
import torch
cuda = torch.cuda.is_available()
found = {"version": torch.__version__, "cuda": torch.version.cuda, "cuda_works": cuda, "threads": torch.get_num_threads(),
         "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
         "mps": torch.backends.mps.is_available()}
float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())
""",
    "lightning": "import lightning.pytorch as pl; pl.Trainer; import lightning; found = {'version': lightning.__version__}",
    "transformers": """
from transformers import AutoBackbone, ResNetConfig
import transformers
AutoBackbone.from_config(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic"))
found = {"version": transformers.__version__}
""",
    "opencv": "import cv2; cv2.findEssentialMat; cv2.USAC_MAGSAC; found = {'version': cv2.__version__}",
    "av": """
import av, numpy, tempfile, pathlib
from vergence.footage.video import VideoWriter, open_video
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "test.mp4"
    with VideoWriter(path, 25.0) as video:
        for _ in range(3):
            video.write(numpy.full((32, 48, 3), 128, numpy.uint8))
    with open_video(path) as video:
        assert len(video) == 3 and abs(int(video[2].mean()) - 128) < 4, "a video written and read back has changed"
found = {"version": av.__version__, "h264": "libx264" in av.codecs_available}
""",
    "torchvision": "import torchvision; torchvision.ops.nms; found = {'version': torchvision.__version__}",
}


WITH_TORCH = ("torch", "lightning", "transformers")


def examine(device: str = "auto", folder: Path | None = None, progress: Progress = silent) -> list[Finding]:
    """All findings; `folder` is where the disk is looked at, the current one where not given."""
    probed = probe_all(progress)
    return [
        check_python(),
        check_requirements(),
        check_torch(probed["torch"], device),
        check_import("lightning", probed["lightning"]),
        check_import("transformers", probed["transformers"]),
        check_torchvision(probed["torchvision"], probed["torch"]),
        check_opencv(probed["opencv"]),
        check_video(probed["av"]),
        check_disk(folder or Path.cwd()),
        check_memory(),
        check_threads(probed["torch"]),
        check_tensorboard(),
    ]


def probe_all(progress: Progress = silent) -> dict[str, dict[str, Any]]:
    """Every probe's answer. Those that import torch take one process together, and one each where something is wrong; the
    others run beside it, and `progress` is told of each. torchvision is only tried where it is installed."""
    wanted = {name: code for name, code in PROBES.items() if name != "torchvision" or installed("torchvision")}
    whole = "\n".join(
        f"{wanted[name]}\nfirst = globals().get('first', {{}}) | {{'{name}': found}}" for name in WITH_TORCH
    )
    rest = [name for name in wanted if name not in WITH_TORCH]

    def tried(name: str, code: str = "") -> dict[str, Any]:
        progress(name, 0, 1)
        answer = probe(code or wanted[name])
        progress(name, 1, 1)
        return answer

    with ThreadPoolExecutor(2) as pool:
        later = pool.map(tried, rest)
        together = tried(", ".join(WITH_TORCH), f"{whole}\nfound = first")
        if "error" in together:
            together = dict(zip(WITH_TORCH, map(tried, WITH_TORCH)))
        answers = {**together, **dict(zip(rest, later))}
    return {name: answers.get(name, {}) for name in PROBES}


def probe(code: str) -> dict[str, Any]:
    """Runs code in a new interpreter; what it found, or `error`: the last line of what went wrong."""
    script = f"{code}\nimport json\nprint('FOUND ' + json.dumps(found))"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {PROBE_SECONDS} s"}
    for line in done.stdout.splitlines():
        if done.returncode == 0 and line.startswith("FOUND "):
            return json.loads(line.removeprefix("FOUND "))
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return {"error": lines[-1] if lines else f"the process ended with status {done.returncode}"}


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _judged(what: str, found: str, remedy: str = "", state: State = "note") -> Finding:
    """Good where there is nothing to be done."""
    return Finding(what, state if remedy else "good", found, remedy)


def check_python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}, {platform.system()} {platform.machine()}"
    own = sys.prefix != sys.base_prefix
    return _judged("python", found, "" if own else "A virtual environment keeps other projects' versions apart.")


def check_requirements() -> Finding:
    """Every requirement of the package, by its metadata."""
    try:
        requirements = metadata.requires("vergence") or []
        from packaging.requirements import Requirement
    except (metadata.PackageNotFoundError, ImportError) as error:
        return Finding("requirements", "wrong", str(error), "Install Vergence with pip: pip install .")
    bad = []
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            bad.append(f"{requirement.name}{requirement.specifier} is wanted, {version or 'none'} installed")
    remedy = "Install Vergence again: pip install ." if bad else ""
    return _judged("requirements", "; ".join(bad) or "all there, in versions that fit", remedy, "wrong")


def check_import(name: str, answer: dict[str, Any]) -> Finding:
    remedy = f"Install it again: pip install --force-reinstall {name}"
    if "torchvision" in answer.get("error", ""):
        remedy = "Take torchvision away: pip uninstall torchvision"
    return _judged(name, answer.get("error") or answer["version"], remedy if "error" in answer else "", "wrong")


def check_torch(answer: dict[str, Any], device: str) -> Finding:
    if "error" in answer:
        return Finding("torch", "wrong", answer["error"], "Install it again: pip install --force-reinstall torch")
    built = f"CUDA {answer['cuda']}" if answer["cuda"] else "CPU only"
    names = ", ".join(answer["devices"]) or ("Apple GPU" if answer["mps"] else "no GPU")
    found = f"{answer['version']}, built for {built}; {names}"
    works = {"auto": True, "cpu": True, "cuda": answer["cuda_works"], "mps": answer["mps"]}
    if device not in works:
        return Finding("torch", "wrong", f"{found}; no device is called {device!r}", "Use auto, cpu, cuda or mps.")
    if not works[device]:
        return Finding("torch", "wrong", f"{found}; {device} does not work", "Look at its driver, or use --device cpu.")
    idle = answer["cuda"] and not answer["cuda_works"] and not answer["mps"]
    return _judged("torch", found, "Everything runs on the CPU. If there is a GPU, look at its driver." if idle else "")


def check_torchvision(answer: dict[str, Any], torch: dict[str, Any]) -> Finding:
    """Vergence does not use it, but Lightning and transformers import it where it is, and fail with it."""
    version = installed("torchvision")
    remedy = "Take it away: pip uninstall torchvision"
    if version is None:
        return Finding("torchvision", "good", "not installed, not needed")
    if "error" in answer:
        return Finding("torchvision", "wrong", f"{version} cannot be imported: {answer['error']}", remedy)
    ours, theirs = (build.partition("+")[2] for build in (torch.get("version", ""), version))
    if ours and theirs and ours != theirs:
        found = f"{version} is of another build than torch {torch['version']}"
        return Finding("torchvision", "wrong", f"{found}; Lightning and transformers fail to import with it", remedy)
    return Finding("torchvision", "note", f"{version}, not needed; works with this torch", "Update it only with torch.")


def check_opencv(answer: dict[str, Any]) -> Finding:
    kinds = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    there = [name for name in kinds if installed(name)]
    mend = f"pip uninstall {' '.join(there)}; pip install opencv-python-headless"
    if "error" in answer:
        return Finding("opencv", "wrong", answer["error"], mend)
    if len(there) > 1:
        return Finding("opencv", "note", f"{' and '.join(there)} share one folder, the last installed wins", mend)
    return Finding("opencv", "good", answer["version"])


def check_video(answer: dict[str, Any]) -> Finding:
    if "error" in answer:
        return Finding("video", "wrong", answer["error"], "Install PyAV again: pip install --force-reinstall av")
    found = f"PyAV {answer['version']}; a video written and read back"
    if answer["h264"]:
        return Finding("video", "good", f"{found}, H.264")
    note = "Videos are larger, and browsers may not play them; PyAV's own wheels have the encoder."
    return Finding("video", "note", f"{found}; no H.264 encoder, MPEG-4 part 2 is written instead", note)


def check_disk(folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"vergence")
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding("disk", "wrong", f"{folder}: {error.strerror or error}", "Run in a folder you may write to.")
    little = f"Runs and reports want {FREE_GIB:g} GiB: make room, or use --out." if free < FREE_GIB else ""
    return _judged("disk", f"{free:.1f} GiB free in {folder}", little, "wrong")


def check_memory() -> Finding:
    wanted = f"The demo wants {MEMORY_GIB:g} GiB."
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "note", "this system does not tell", wanted)
    return _judged("memory", f"{total:.1f} GiB", wanted if total < MEMORY_GIB else "")


def check_threads(torch: dict[str, Any]) -> Finding:
    """What the verbs choose by themselves just now, and why."""
    found = threads.settled or threads.choose()
    cores = threads.cores()
    count = found.threads or torch.get("threads") or "an unknown number of"
    told = f"{cores} cores; torch uses {count} thread{'s' * (count != 1)}: {found.reason}"
    if found.threads > cores:
        return Finding("threads", "note", told, f"More than {cores} wait for each other: give fewer.")
    if found.threads != 1 and not found.asleep and os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        remedy = "Unset it where no other programs run: two threads take twice as long with it."
        return Finding("threads", "note", f"{told}; OMP_WAIT_POLICY is passive", remedy)
    return Finding("threads", "good", told)


def check_tensorboard() -> Finding:
    there = [f"{name} {version}" for name in ("tensorboard", "tensorboardX") if (version := installed(name))]
    found = f"{there[0]}; training writes its curves there too" if there else ""
    return Finding(
        "tensorboard", "good", found or "not installed, not needed; curves are in metrics.jsonl and the report"
    )
