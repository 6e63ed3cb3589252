"""The page of a comparison: one table, what differs by more than chance, and the same images through every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vergence.batches.dataset import Dataset
from vergence.comparison.bootstrap import BOOTSTRAP, FEW
from vergence.comparison.results import FIGURES, MORE, Measured
from vergence.comparison.shown import Shown
from vergence.evaluation.scores import HEADING
from vergence.report.page import Cell, Curve, Dots, Page, Panel, Strip, Table, choose_samples, format_number
from vergence.report.run_page import PROTOCOL, at_scale_of, image_and_up, person, run_facts
from vergence.skeleton import Skeleton, in_words


def failed_tables(results: Mapping[str, Any]) -> list[Table]:
    """The rows that could not be trained or measured, where there are any."""
    rows: list[list[Cell]] = [[one["name"], str(one["seed"]), one["reason"]] for one in results.get("failed", ())]
    how = (
        "Not trained or not measured. The same command tries them again; what they share with others is not made again."
    )
    return [Table("Failed", ["", "seed", "why"], rows, how, words=True)] if rows else []


MAIN = tuple(key for key in FIGURES if key not in MORE)
IMAGES = 2  # of each look and kind: worst, best, random by the mean error of all methods
BASELINES = {
    "mean_pose": "mean pose", "true_2d_zero_depth": "true 2D, zero depth", "camera_mean_pose": "mean pose of each camera",
    "nearest_pose": "nearest training pose", "oracle": "oracle (retrieval)", "random": "random (retrieval)",
}  # fmt: skip
ABOUT = {  # by the figures whose columns it explains
    "": "3D labels: images whose true 3D the training saw.",
    "pck": "N-PCK: joints within 150 mm.",
    "auc": "N-AUC: mean N-PCK over thresholds from 0 to 150 mm.",
    "pss50 pss100": "PSS: poses in the truth's cluster, the same clusters for all.",
    "left_right_mm left_right_px": "L/R: mean left/right difference of limb lengths.",
    "detection_1 retrieved_pa_mpjpe_1": "Det@1: queries whose nearest image by another camera, of the same person, is of "
    "their time step; hit's PA: P-MPJPE between the two; of methods with an embedding, which ranks.",
    "keypoints_2d": "2D: median distance in crop pixels.",
}
SECONDS = (
    "wall-clock seconds, and those of the processor (all threads) in brackets, mean over seeds; a shared stage counts wherever "
    "it is used; without drawing images"
)


def comparison_page(
    results: Mapping[str, Any],
    measured: Mapping[str, Measured],
    tests: Mapping[str, Dataset | Shown],
    skeleton: Skeleton,
) -> Page:
    """The page.

    Args:
        results: what `results.json` holds.
        measured: each method on one seed's tests, of which the images are shown.
        tests: those tests.
        skeleton: of all.
    """
    looks = list(tests)
    tables = [result_table(results, look) for look in looks]
    versus, worth = ([table(results, look) for look in looks] for table in (versus_table, worth_table))
    return Page(
        title="Methods side by side",
        subtitle="Trained on the same images, measured on the same tests",
        skeleton=skeleton,
        facts={
            **run_facts(results["command"]),
            "seeds": ", ".join(map(str, results["protocol"]["seeds"])),
            "compared": ", ".join(results["methods"]),
        },
        tables=[
            *tables,
            *failed_tables(results),
            *(table for table in (*versus, *worth) if table),
            *(table for look in looks for table in change_tables(results, look)),
            seconds_table(results),
        ],
        curves=efficiency_curves(results) or varied_curves(results),
        curves_title=f"Error and {results['varied']['key']}" if "varied" in results else "Error and 3D labels",
        dots=[dots(results, look, key) for look in looks for key in ("n_mpjpe", "p_mpjpe")],
        strips=[strip for look in looks for strip in strips(look, measured, tests[look], skeleton)],
        samples_protocol=PROTOCOL + " Poses are drawn at the truth's scale.",
        details=[
            *(table for look in looks for table in ladder_tables(results, look)),
            *(result_table(results, look, MORE, "More") for look in looks),
            *(joint_table(results, look) for look in looks),
            *(pair_table(results, look) for look in looks),
        ],
        sections=("results", "samples", "curves", "details", "run"),
    )


def cell_text(cell: Cell) -> str:
    """A cell as plain text."""
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else format_number(cell)


def value_text(found: Mapping[str, float | None] | None) -> Cell:
    """Mean, and the deviation over seeds where there are several."""
    if not found or found["mean"] is None:
        return None
    mean, std = found["mean"], found["std"]
    decimals = 0 if abs(mean) >= 999.5 else 1 if abs(mean) >= 9.95 else 2
    return f"{mean:,.{decimals}f}" + (f" ± {std:.{decimals}f}" if std is not None else "")


def result_table(
    results: Mapping[str, Any], look: str = "", keys: Sequence[str] = MAIN, title: str = "Results"
) -> Table:
    """The comparison's table of one test set, by default the first."""
    look = look or results["protocol"]["figures_of"]
    methods, protocol = results["methods"], results["protocol"]
    known = [k for k in keys if any(k in found["by_look"][look] for found in methods.values())]
    rows: list[list[Cell]] = [
        [name, f"{found['labels_3d']:,}", *(value_text(found["by_look"][look].get(k)) for k in known),
         f"{found['parameters']:,}", value_text(found["seconds"])]
        for name, found in methods.items()
    ]  # fmt: skip
    for name, found in results["baselines"][look].items():
        if not set(found) & set(known):
            continue
        values = [value_text({"mean": found[k], "std": None}) if k in found else None for k in known]
        rows.append([BASELINES[name], None, *values, None, None])
    about, seeds = protocol[look], protocol["seeds"]
    explained = [text for figures, text in ABOUT.items() if not figures or set(figures.split()) & set(known)]
    frames = [frames_of.get(look, {}).get("frame") for frames_of in protocol["methods"].values()]
    return Table(
        title=f"{title}, {look}",
        columns=["", "3D labels", *(FIGURES[k] for k in known), "parameters", "seconds"],
        rows=rows,
        protocol=f"{PROTOCOL} {about['images']} images of {about['subjects']} people for each seed. "
        + (f"Seeds {', '.join(map(str, seeds))}: mean ± standard deviation." if len(seeds) > 1 else f"Seed {seeds[0]}.")
        + (f" World {protocol['world_version']}." if "look" in about else "")
        + (f" {HEADING}." if "canonical" in frames else ""),
        note=" ".join([*explained, *_units(protocol, look), *_joints(protocol, look)]),
    )


def _joints(protocol: Mapping[str, Any], look: str) -> list[str]:
    """Whose figures are not over the joints of the others."""
    usual = protocol[look].get("joints_never_labelled", [])
    own = {name: about.get(look, {}).get("joints_never_labelled", usual) for name, about in protocol["methods"].items()}
    if not any(own.values()):
        return []
    return [
        f"Without {', '.join(map(in_words, joints))}, which its labels never showed: {n}."
        for n, joints in own.items()
        if joints
    ]


def _units(protocol: Mapping[str, Any], look: str) -> list[str]:
    return [
        f"{name} has a refinement unit trained on {'3D labels' if unit['uses_3d_labels'] else 'pseudo-labels'}."
        for name, about in protocol["methods"].items()
        if (unit := about.get(look, {}).get("refinement_unit"))
    ]


def versus_table(results: Mapping[str, Any], look: str = "") -> Table | None:
    """Every method against the reference."""
    look = look or results["protocol"]["figures_of"]
    reference, rows = results["reference"], []
    for name in results["methods"]:
        cells: list[Cell] = [name]
        for measure in ("n_mpjpe", "p_mpjpe"):
            found = _against(results, look, measure, name, reference)
            cells += ["–", "–"] if not found else [interval(found["difference"], 1), interval(found["ratio"], 3)]
        if name != reference and set(cells[1:]) != {"–"}:
            rows.append(cells)
    if not rows:
        return None
    columns = ["", "N-MPJPE, mm more", "N-MPJPE, times", "P-MPJPE, mm more", "P-MPJPE, times"]
    how = f"{PROTOCOL} In brackets: {BOOTSTRAP}."
    return Table(f"Against {reference}, {look}", columns, rows, how, few_people(results, look))


def few_people(results: Mapping[str, Any], look: str) -> str:
    """A warning where intervals are over so few people that they say little."""
    pairs = results["differences"].get(look, {}).values()
    least = min((one["people"] for found in pairs for one in found.values()), default=FEW)
    if least >= FEW:
        return ""
    return f"These intervals are over {least} test people: too few, they are narrower than they should be."


def _against(results: Mapping[str, Any], look: str, measure: str, name: str, other: str) -> dict[str, Any] | None:
    """A pair's difference whichever way round it is kept."""
    pairs = results["differences"].get(look, {}).get(measure, {})
    if found := pairs.get(f"{name} - {other}"):
        return dict(found)
    if not (found := pairs.get(f"{other} - {name}")):
        return None
    d, r = found["difference"], found["ratio"]
    turned = {"mean": -d["mean"], "low": -d["high"], "high": -d["low"]}
    return {"difference": turned, "ratio": {"mean": 1 / r["mean"], "low": 1 / r["high"], "high": 1 / r["low"]}}


def interval(found: Mapping[str, float], decimals: int) -> str:
    """A value with its interval."""
    value, low, high = (f"{found[key]:z.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{value} [{low}, {high}]"


def pair_table(results: Mapping[str, Any], look: str) -> Table:
    """Every pair of methods."""
    found = [results["differences"].get(look, {}).get(measure, {}) for measure in ("n_mpjpe", "p_mpjpe")]
    rows: list[list[Cell]] = []
    for pair in dict.fromkeys(pair for pairs in found for pair in pairs):
        known = [pairs.get(pair) for pairs in found]
        shown = (interval(one["difference"], 1) if one else None for one in known)
        rows.append([pair, *shown, next(one["people"] for one in known if one)])
    columns = ["difference", "N-MPJPE mm", "P-MPJPE mm", "people"]
    how = f"{PROTOCOL} In brackets: {BOOTSTRAP}."
    return Table(f"Every pair, {look}", columns, rows, how, few_people(results, look))


def seconds_table(results: Mapping[str, Any]) -> Table:
    """Where the time of each method went."""
    methods = results["methods"]
    stages = list(dict.fromkeys(stage for found in methods.values() for stage in found["stages"]))
    rows: list[list[Cell]] = []
    for name, found in methods.items():
        whole = _seconds(found["seconds"]["mean"], found["cpu_seconds"]["mean"])
        rows.append([name, *(_seconds(**found["stages"].get(stage, {})) for stage in stages), whole])
    return Table("Seconds by stage", ["", *stages, "all"], rows, SECONDS)


def _seconds(seconds: float | None = None, cpu_seconds: float | None = None) -> Cell:
    words = [None if value is None else f"{value:,.{0 if value >= 9.95 else 1}f}" for value in (seconds, cpu_seconds)]
    return words[0] if words[0] is None or words[1] is None else f"{words[0]} ({words[1]})"


def joint_table(results: Mapping[str, Any], look: str) -> Table:
    """N-MPJPE of each joint by each method."""
    methods = results["methods"]
    joints = next(iter(methods.values()))["per_joint"][look]
    rows: list[list[Cell]] = [
        [in_words(j), *(found["per_joint"][look][j] for found in methods.values())] for j in joints
    ]
    return Table(f"N-MPJPE by joint, mm, {look}", ["joint", *methods], rows, PROTOCOL, heat=True)


def dots(results: Mapping[str, Any], look: str, key: str) -> Dots:
    """Every seed's error of every method, and their mean."""
    values = {
        name: [one["by_look"][look][key] for one in found["seeds"].values() if key in one["by_look"][look]]
        for name, found in results["methods"].items()
    }
    return Dots(f"{FIGURES[key].removesuffix(' mm')}, {look}", "mm; a dot for each seed, a line at their mean", values)


def efficiency_curves(results: Mapping[str, Any]) -> list[Curve]:
    """Error against the number of people whose 3D is seen; a method that sees none is a level line."""
    found = results.get("label_efficiency", {})
    level = [name for name, points in found.items() if not any(point["people_3d"] for point in points)]
    if len(level) == len(found):
        return []
    return _curves(results, found, "people_3d", "people with 3D labels", True, level)


def varied_curves(results: Mapping[str, Any]) -> list[Curve]:
    """Error against the values of the key that is varied, where they are numbers."""
    found = results.get("varied", {"points": {}, "key": ""})
    numbers = [point["number"] for points in found["points"].values() for point in points]
    if not numbers or None in numbers:
        return []
    wide = min(numbers) > 0 and max(numbers) >= 8 * min(numbers)
    return _curves(results, found["points"], "number", found["key"], wide)


def _curves(
    results: Mapping[str, Any], found: Mapping[str, Any], of: str, x_label: str, log: bool, level: Sequence[str] = ()
) -> list[Curve]:
    counts = [float(point[of]) for name, points in found.items() for point in points if name not in level]
    curves = []
    for look in results["protocol"]["methods"][next(iter(results["methods"]))]:
        for key in ("n_mpjpe", "p_mpjpe"):
            series, spreads = {}, {}
            for name, points in found.items():
                known = [p for p in points if p["by_look"][look].get(key, {}).get("mean") is not None]
                x = [float(p[of]) for p in known]
                y = [p["by_look"][look][key]["mean"] for p in known]
                each = [[s[look][key] for s in p["seeds"].values() if key in s[look]] for p in known]
                if known and name in level:
                    x, y, each = [min(counts), max(counts)], y * 2, each * 2
                series[name] = (x, y)
                spreads[name] = ([min(e) for e in each], [max(e) for e in each])
            label = FIGURES[key].removesuffix(" mm")
            curves.append(
                Curve(f"{label}, {look}", x_label, f"{label}, mm", series, log_x=log, spread=spreads, level=level)
            )
    return curves


def change_tables(results: Mapping[str, Any], look: str = "") -> list[Table]:
    """By how much each method's error is above that with the first value of the key that is varied, and two methods' changes
    less each other."""
    look = look or results["protocol"]["figures_of"]
    found = [one for one in results.get("varied", {}).get("changes", ()) if one["test"] == look]
    tables = []
    for measure in dict.fromkeys(one["measure"] for one in found):
        cells: dict[str, dict[str, Cell]] = {}
        for one in found:
            if one["measure"] == measure:
                name = f"{one['method']} less {one['other']}" if one["other"] else one["method"]
                cells.setdefault(name, {})[one["value"]] = interval(one, 1)
        values = list(dict.fromkeys(one["value"] for one in found))
        title = f"{FIGURES[measure]} more than with {results['varied']['key']} {found[0]['of']}, {look}"
        rows: list[list[Cell]] = [[name, *(own.get(value) for value in values)] for name, own in cells.items()]
        how = f"{PROTOCOL} A less B: by how much more A's error changes. In brackets: {BOOTSTRAP}."
        note = few_people(results, look)
        tables.append(Table(title, ["", *values], rows, how, note))
    return tables


def ladder_tables(results: Mapping[str, Any], look: str) -> list[Table]:
    """The same in numbers."""
    found = results.get("label_efficiency", {})
    amounts = sorted({point["people_3d"] for points in found.values() for point in points})
    tables = []
    for key in ("n_mpjpe", "p_mpjpe") if len(amounts) > 1 else ():
        rows: list[list[Cell]] = []
        for name, points in found.items():
            by_people = {point["people_3d"]: value_text(point["by_look"][look].get(key)) for point in points}
            rows.append([name, *(by_people.get(people) for people in amounts)])
        title = f"{FIGURES[key]} by people with 3D labels, {look}"
        tables.append(Table(title, ["", *map(str, amounts)], rows, PROTOCOL))
    return tables


def worth_table(results: Mapping[str, Any], look: str = "") -> Table | None:
    """How many people's 3D labels a method that sees none is worth to each other method."""
    look = look or results["protocol"]["figures_of"]
    by_pair: dict[str, dict[str, Any]] = {}
    for one in results.get("label_crossings", ()):
        if one["test"] == look:
            by_pair.setdefault(f"{one['method']} reaches {one['reaches']}", {})[one["measure"]] = one
    if not by_pair:
        return None
    rows: list[list[Cell]] = []
    for pair, found in by_pair.items():
        both = [found.get(measure) for measure in ("n_mpjpe", "p_mpjpe")]
        rows.append([pair, *(cell for one in both for cell in (_worth(one), _between(one)))])
    columns = ["", "people by N-MPJPE", "between, N", "people by P-MPJPE", "between, P"]
    how = (
        f"{PROTOCOL} The number of people with 3D labels from which on the error stays at or below that of the method without, "
        f"between two numbers that were tried linear in the logarithm. In brackets: {BOOTSTRAP}."
    )
    return Table(f"3D labels replaced, {look}", columns, rows, how, few_people(results, look))


def _worth(one: Mapping[str, Any] | None) -> Cell:
    if one is None:
        return None
    value, low, high = (_people(one, key) for key in ("people", "low", "high"))
    return value if value == low == high else f"{value} [{low}, {high}]"


def _people(one: Mapping[str, Any], key: str) -> str:
    if (value := one[key]) is None:
        return f"more than {one['most']}"
    return f"at most {one['fewest']}" if value < one["fewest"] else f"{value:.{0 if value >= 9.95 else 1}f}"


def _between(one: Mapping[str, Any] | None) -> Cell:
    return None if one is None or one["between"] is None else " and ".join(map(str, one["between"]))


def strips(look: str, measured: Mapping[str, Measured], test: Dataset | Shown, skeleton: Skeleton) -> list[Strip]:
    """Images of a test set, each with every method's pose over the truth."""
    mean = np.stack([m.images[f"{look}.p_mpjpe"] for m in measured.values()]).mean(0)
    subjects = next(iter(measured.values())).images[f"{look}.subject"]
    out, root = [], list(skeleton.root)
    for group, i in choose_samples(mean, IMAGES):
        view = test.read(torch.tensor([i]))
        true = (view.pose[0] - view.pose[0, root].mean(0)).numpy()
        panels = []
        for name, m in measured.items():
            errors = {word: m.images[f"{look}.{word.lower()}_mpjpe"][i] for word in "NP"}
            words = [f"{word} {value:.0f}" for word, value in errors.items() if np.isfinite(value)]
            panels.append(Panel(name, at_scale_of(true, m.images[f"{look}.pose"][i]), f"{', '.join(words)} mm"))
        title = f"{look}, {group}: {person(subjects, i)}, camera {int(view.view[0])}"
        out.append(Strip(title, pose_true=true, panels=panels, **image_and_up(view)))
    return out
