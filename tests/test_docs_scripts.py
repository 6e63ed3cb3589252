"""What the documentation offers to copy is what the package takes, and its site is made of all there is."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import vergence
from vergence import cli, plugins
from vergence.bulk.manifest import INPUTS
from vergence.commands.console import options
from vergence.recipes.load import load_recipe
from vergence.recipes.recipe import Recipe
from vergence.recipes.settings import Limited
from vergence.recipes.sources import Source

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FOREIGN = {  # of OpenPose, tensorboard, Slurm and torchrun
    "write_json", "display", "video", "logdir", "signal", "gpus-per-task", "ntasks-per-node", "nproc-per-node", "nodes",
    "nnodes", "no-python", "master-addr", "master-port", "node-rank",
}  # fmt: skip
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
SELF_CONTAINED = ("vergence.Camera(", "vergence.metrics.n_mpjpe(np.random", 'vergence.load("nothing")')

_spec = importlib.util.spec_from_file_location("build_docs", ROOT / "scripts" / "build_docs.py")
build_docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build_docs)


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [inspect.cleandoc("\n" + text) for _, language, text in found if language in languages]


def commands(page: Path) -> list[str]:
    """`vergence VERB ...` in blocks of the shell and in the text."""
    text = page.read_text("utf-8")
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    called = [line.partition(" #")[0].strip() for line in (*lines, *(" ".join(span.split()) for span in spans))]
    return [line for line in called if re.match(r"vergence [a-z]", line)]


@pytest.mark.parametrize("number", [0, 1])
def test_recipes_in_the_documentation_are_recipes(number, tmp_path):
    found = blocks(DOCS / "training.md", "yaml")
    assert len(found) == 2
    (tmp_path / "recipe.yaml").write_text(found[number])
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.stages["pose"].train.labels == ["labels"]
    assert recipe.test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_are_spelled_as_the_verbs_take_them(page):
    wrong = []
    for command in commands(page):
        verb, *words = shlex.split(command.replace("\\|", "|"))[1:]
        if verb in ("help", *cli.VERBS):
            function = cli.function_of(verb) if verb != "help" else None
            known = {word.replace("_", "-") for word in options.parameters(function)} if function else set()
            for inner in INPUTS if verb == "batch" else ():  # whose other options are those of the verb that it does
                known |= {word.replace("_", "-") for word in options.parameters(cli.function_of(inner))}
            of_recipe = "overrides" in known
            for word in words:
                name = word.partition("=")[0].removeprefix("--")
                fits = name.removeprefix("no-") in known | {"help", "threads"} or (of_recipe and is_key(name))
                takes_words = getattr(function, "takes_words", False)
                if word.startswith("--") and not (fits or takes_words):
                    wrong.append((command, word))
        elif verb not in cli.FORMERLY:
            wrong.append((command, verb))
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_the_text_names_are_spelled_as_somebody_takes_them(page):
    """Commands in blocks are held to their verb above; here the text: options of a verb, of our scripts, keys of recipes."""
    known = {name.replace("_", "-") for one in cli.functions().values() for name in options.parameters(one)}
    for file in (
        file for folder in ("scripts", "benchmarks", "findings", "docs") for file in (ROOT / folder).rglob("*.py")
    ):
        known |= set(re.findall(r"--([a-z][a-z-]*)", file.read_text("utf-8")))
    known |= {"help", "threads", "version", "any.key", *FOREIGN}
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = {
        name for part in re.findall(r"`([^`]+)`", text) for name in re.findall(r"(?<![\w-])--([a-z][\w.-]*\w)", part)
    }
    assert [n for n in sorted(named - {"no"}) if not {n, n.removeprefix("no-")} & known and not is_key(n)] == []


def is_key(name: str) -> bool:
    return name.partition(".")[0].replace("-", "_") in {field.name for field in dataclasses.fields(Recipe)}


def test_the_readme_has_a_line_for_each_verb():
    rows = re.findall(r"^\| `vergence ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(cli.VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_documentation_uses_public_names(page):
    for block in blocks(page, "python"):
        nodes = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in nodes if ast.unparse(node.value) == "vergence"}
        assert used <= set(vergence.__all__), block


@pytest.mark.parametrize("name", SELF_CONTAINED)
def test_examples_that_need_no_data_run(name):
    (block,) = [block for block in blocks(DOCS / "api.md", "python") if name in block]
    exec(compile(block, name, "exec"), {})


def test_examples_of_a_capture_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (made,) = vergence.synthesize("made", subjects=1, frames=40, views=3, size=96, known="cameras")
    made.rename("my_capture")
    uses = re.compile(r"vergence\.(load_capture|observe|reconstruct|Reconstruction\.load)\(")
    found = [block for block in blocks(DOCS / "api.md", "python") if uses.search(block)]
    assert len(found) == 6
    for block in found:
        exec(compile(block, block, "exec"), {})


def parts(kind: type = Limited) -> set[type]:
    """Every dataclass of settings in the package."""
    below = {one for child in kind.__subclasses__() for one in parts(child)}
    return {one for one in {kind, *below} if one.__module__.startswith("vergence.recipes")}


def test_every_key_of_a_recipe_has_its_line_with_a_meaning():
    page = build_docs.recipe_keys()
    kinds = [plugins.datasets[name] for name in plugins.datasets]
    shown = {*build_docs.PARTS.values(), *(kind for kind in kinds if kind.__module__ == Source.__module__)}
    assert {one for one in parts() if one is not Limited and not issubclass(one, Source)} <= shown
    assert len(re.findall(r"^\| `\w+` \|", page, re.MULTILINE)) == sum(len(dataclasses.fields(one)) for one in shown)
    for one in shown:
        known = build_docs.meanings(one)
        assert [field.name for field in dataclasses.fields(one) if not known.get(field.name)] == []
    assert "| `steps` | a whole number, 1 or more | `1000` | number of batches. |" in page


def test_the_page_of_recipe_keys_is_that_of_the_code():
    same = build_docs.KEYS.read_text("utf-8") == build_docs.recipe_keys()
    assert same, "run `python scripts/build_docs.py --keys` and commit docs/recipe-keys.md"


def test_every_option_of_every_verb_is_in_help_completion_and_docs(capsys):
    """What a parser takes beside old spellings; the page is that of the parsers."""
    page = build_docs.verb_options()
    same = build_docs.OPTIONS.read_text("utf-8") == page
    assert same, "run `python scripts/build_docs.py --keys` and commit docs/options.md"
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for verb, function in cli.functions().items():
        own = page.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
        parser = options.parser_of(function, verb)
        helped = parser.format_help()
        completed = re.search(rf"{re.sub('[^a-z]', '_', verb)}_option_strings=\((.*?)\)", script)
        assert completed, verb
        for action in parser._actions:
            names = [name for name in action.option_strings if name.startswith("--") and "_" not in name]
            if names and action.nargs == "?":  # a switch that is on has but its --no-
                names = str(action.metavar).split(", ")
            for name in names[: None if action.nargs == "?" else 1]:
                assert re.search(rf"{name}(?![\w-])", helped), (verb, name)
                assert name in completed[1].split(), (verb, name)
                assert name in ("--help", "--threads") or re.search(rf"`[^`]*{name}(?![\w-])", own), (verb, name)


def test_keys_that_a_verb_reads_by_name_are_those_of_a_recipe_and_none_is_a_hidden_option():
    """`plugins` was read so by `compare`, and no help told it."""
    keys = {field.name for field in dataclasses.fields(Recipe)}
    for verb, function in cli.functions().items():
        own = set(getattr(function, "keys", ()))
        assert own <= keys - set(options.parameters(function)), verb
        if own:
            assert keys - own <= {"seed", *options.parameters(function)}, verb


def test_the_reference_has_every_public_name_once():
    text = "".join(build_docs.reference().values())
    assert sorted(re.findall(r"^::: [\w.]+\.(\w+)$", text, re.MULTILINE)) == sorted(vergence.PUBLIC)
    listed = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [*build_docs.reference(), *(page.name for page in DOCS.glob("*.md"))]
    assert [name for name in pages if name not in listed] == []


def test_the_site_is_built_and_every_link_in_it_leads_somewhere():
    if not importlib.util.find_spec("zensical"):
        pytest.skip("needs the extra [docs]")
    done = subprocess.run([sys.executable, "scripts/build_docs.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    assert "vergence learn" in (site / "index.html").read_text("utf-8")
    page = (site / "reference" / "data.html").read_text("utf-8")
    assert 'id="vergence.world.synthesize.synthesize"' in page


def test_the_site_can_be_read_as_files_and_asks_nobody_else():
    settings = yaml.safe_load(re.sub(r"!!python\S*", "", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert settings["use_directory_urls"] is False  # a folder's link is a listing where no server makes it index.html
    assert "repo_url" not in settings  # of which each page asks api.github.com
