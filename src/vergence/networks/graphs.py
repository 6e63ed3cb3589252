"""A finished network as one ONNX file, which runs without torch: written, opened, run.

The file has the weights in it and what one must know to use them in its metadata (`metadata_props`), so that a program in
any language that reads it needs nothing beside it. The number of images is free; everything else has one size.

What breaks it: what a network decides by the values of its tensors is decided once, while it is written. So a buffer of
one truth value, which a method may keep with its weights, is made a plain one first, and whoever writes a file compares
(`vergence.export` does). The exporter notes at every node from which line of which file it came: that is taken out.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vergence.errors import VergenceError, refusing, said
from vergence.networks import threads

SUFFIX = ".onnx"
FORMAT = "1"  # of the metadata
KEY = "vergence_format"


def check_installed(*packages: str) -> None:
    """Raises a `VergenceError` where one is missing."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise VergenceError(f"ONNX files need {', '.join(missing)}, not installed", "pip install 'vergence[onnx]'.")


def settled(module: nn.Module) -> nn.Module:
    """A copy for export: no gradients, and buffers of one truth value as plain attributes."""
    made = copy.deepcopy(module).eval().cpu().requires_grad_(False)
    for part in made.modules():
        for name, value in list(part.named_buffers(recurse=False)):
            if value.dtype == torch.bool and value.ndim == 0:
                delattr(part, name)
                setattr(part, name, bool(value))
    return made


def write(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[int, str],
    metadata: Mapping[str, str],
    path: Path,
) -> None:
    """Writes a module as one file.

    Args:
        module: takes the inputs in order and returns a tuple of the outputs.
        inputs: examples by name; their sizes are the file's, but for those in `free`.
        outputs: names.
        free: names of the axes, by number, whose size is open in every input; their example must be 2 or more.
        metadata: by key.
        path: of the file.

    Raises:
        VergenceError: packages are missing, or something in the network has no counterpart in ONNX.
    """
    check_installed("onnx", "onnxscript")
    axes = {number: torch.export.Dim(name) for number, name in free.items()}
    try:
        with _silent(), torch.no_grad():
            program: Any = torch.onnx.export(
                settled(module), tuple(inputs.values()), dynamo=True, verbose=False, input_names=list(inputs),
                output_names=list(outputs), dynamic_shapes=tuple(axes for _ in inputs),
            )  # fmt: skip
    except Exception as error:  # torch's own explanation is pages long; the reason is at its end
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise VergenceError(
            f"this network has no counterpart in ONNX: {said(reason)}", "Use the run's folder instead."
        ) from error
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    program.model.metadata_props.update({KEY: FORMAT, **metadata})
    program.save(str(path), external_data=False)


@contextmanager
def _silent() -> Iterator[None]:
    """Without what exporters say of their progress."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class Graph:
    """An ONNX file of ours, opened.

    Args:
        path: the file.

    Attributes:
        metadata: what was written with it.
        outputs: names.

    Raises:
        VergenceError: ONNX Runtime is missing, no such file, none that it reads, or none that Vergence wrote.
    """

    def __init__(self, path: Path) -> None:
        check_installed("onnxruntime")
        if not path.is_file():
            raise VergenceError(f"{path}: no such file", "Write it with `vergence export RUN`.")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        if threads.settled is not None and threads.settled.asleep:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with refusing(f"{path} cannot be opened by ONNX Runtime", "Write it again with `vergence export RUN`."):
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        self.outputs = [output.name for output in self.session.get_outputs()]
        if self.metadata.get(KEY) != FORMAT:
            found = self.metadata.get(KEY)
            what = "was not written by `vergence export`" if found is None else f"has format {found}, not {FORMAT}"
            raise VergenceError(f"{path} {what}", "Write it again with `vergence export RUN`.")

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs by name, on the CPU."""
        given = {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in inputs.items()}
        with refusing("the ONNX file does not take these inputs", "Write it again with `vergence export RUN`."):
            found = self.session.run(self.outputs, given)
        return {name: torch.from_numpy(value) for name, value in zip(self.outputs, found, strict=True)}


def opened(path: Path) -> Graph:
    """A file of ours; whoever asks for the one that was opened last, and is as it was, gets that: opening takes seconds."""
    check_installed("onnxruntime")
    written = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
    return _opened(path, written, torch.get_num_threads())


@lru_cache(maxsize=1)
def _opened(path: Path, written: object, threads: int) -> Graph:
    return Graph(path)
