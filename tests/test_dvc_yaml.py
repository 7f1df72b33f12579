"""`dvc.yaml` tells the truth: what it declares is derived here from the code and compared."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, imports

from tonesift import params

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DVC["stages"]
OTHERS = {  # pipelines in folders of their own
    folder: yaml.safe_load((ROOT / folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for folder in ("any-tones", "hum", "switching")
}
SECTIONS = {name: field.annotation for name, field in params.Params.model_fields.items()}


# Where the library reads a section that a stage hands it.
READERS = {
    "generate": ["tonesift/data/recordings.py", "tonesift/conditions/run.py", "tonesift/conditions/background.py"],
    "prepare": ["tonesift/data/windows.py"],
    "train": ["tonesift/learning/run.py", "tonesift/learning/epochs.py"],
    "evaluate": ["tonesift/evaluation/segments.py"],
}


def imported(path: Path) -> set[Path]:
    """Modules of this repository that a module imports, and the packages they lie in."""
    names = imports(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            names |= package_of(node.args[0])
    found = set()
    for name in names:
        parts = name.split(".")
        candidates = [ROOT.joinpath(*parts).with_suffix(".py")]
        candidates += [ROOT.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
        found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def package_of(name: ast.expr) -> set[str]:
    """All modules that an import by a name made at run time can reach: those of the package it begins with."""
    package = name.values[0].value.rstrip(".")
    folder = ROOT.joinpath(*package.split("."))
    return {f"{package}.{module.stem}" for module in folder.glob("*.py")} - {f"{package}.__init__"}


def closure(path: Path) -> set[str]:
    """All modules a stage's code consists of, relative to the root."""
    found, open_ends = set(), {path, path.parent / "__init__.py"}
    while open_ends:
        found |= open_ends
        open_ends = set().union(*(imported(module) for module in open_ends)) - found
    return {module.relative_to(ROOT).as_posix() for module in found}


def settings_call(stage: str) -> dict[str, str]:
    """What a stage asks for in its call of `stages.settings`, and the name that it goes by from there on."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if ast.unparse(node.func) == "stages.settings"]
    (target,) = [node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign) and node.value is call]
    names = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    asked = [argument.value for argument in call.args[1:]]
    return dict(zip(asked, (name.id for name in names), strict=True))


def whole_sections(stage: str) -> list[str]:
    """Sections that a stage declares; what else it declares are single parameters of others."""
    return [name for name in STAGES[stage]["params"] if "." not in name]


def modules(deps: list[str]) -> set[str]:
    """Modules that dependencies name, or the folders that they name hold."""
    folders = [ROOT / dep for dep in deps if list((ROOT / dep).glob("*.py"))]
    held = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py")}
    return held | {dep for dep in deps if dep.endswith(".py")}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_a_stage_imports(stage):
    assert modules(STAGES[stage]["deps"]) == closure(ROOT / "stages" / f"{stage}.py")


@pytest.mark.parametrize(("folder", "stage"), [(folder, stage) for folder in OTHERS for stage in OTHERS[folder]])
def test_the_other_pipelines_tell_the_truth(folder, stage):
    """Their stages are modules of `stages`, on parameters and data of their own; paths are from the top."""
    spec = OTHERS[folder][stage].get("do", OTHERS[folder][stage])
    assert spec["wdir"] == ".."
    assert modules(spec["deps"]) == closure(ROOT / "stages" / f"{stage}.py")
    (read,) = spec["params"]
    assert read == {f"{folder}/params.yaml": sorted(settings_call(stage))}
    assert f"--params {folder}/params.yaml --clock {folder}/metrics/run.json" in " ".join(spec["cmd"].split())
    data = [dep for dep in spec["deps"] if not dep.startswith(("stages", "tonesift"))]
    for kind in ("outs", "metrics", "plots"):
        data += [next(iter(out)) if isinstance(out, dict) else out for out in spec.get(kind, [])]
    assert data
    for path in data:
        assert path.startswith((f"{folder}/", "benchmarks/"))
        assert any(path == word or path.startswith(f"{word}/") for word in spec["cmd"].split()), path


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_a_stage_asks_for(stage):
    assert STAGES[stage]["params"] == sorted(settings_call(stage))


def test_every_section_is_read_whole_by_one_stage():
    assert sorted(section for stage in STAGES for section in whole_sections(stage)) == sorted(SECTIONS)


@pytest.mark.parametrize("stage", STAGES)
def test_single_parameters_are_of_sections_that_other_stages_read(stage):
    for name in set(STAGES[stage]["params"]) - set(whole_sections(stage)):
        section, parameter = name.split(".")
        assert parameter in SECTIONS[section].model_fields, name
        assert section not in whole_sections(stage), name


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_that_a_stage_declares_is_read(stage):
    own = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8")
    texts = [own, *((ROOT / module).read_text(encoding="utf-8") for module in READERS.get(stage, ()))]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    text = "".join(texts)
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for name, variable in settings_call(stage).items():
        if "." in name:
            assert variable in variables, name
        elif not re.search(rf"\*\*(\w+\.)?{variable}\.model_dump\(\)", text):  # handed over whole, as keyword arguments
            assert fields(SECTIONS[name]) - {"duration"} <= attributes, name  # duration: in Data.samples


def fields(section: type[params.Section]) -> set[str]:
    """Names of a section's parameters, and of those of the sections in it."""
    found = set(section.model_fields)
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, params.Section):
            found |= fields(field.annotation)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_data_paths_are_arguments_of_the_command(stage):
    spec = STAGES[stage]
    paths = [dep for dep in spec["deps"] if not dep.endswith(".py") and not list((ROOT / dep).glob("*.py"))]
    for kind in ("outs", "metrics", "plots"):
        paths += [next(iter(out)) if isinstance(out, dict) else out for out in spec.get(kind, [])]
    arguments = spec["cmd"].split()
    for path in paths:
        assert any(path == argument or path.startswith(f"{argument}/") for argument in arguments), path


def test_no_module_builds_paths_from_where_it_lies():
    for folder in ("stages", "tonesift"):
        for module in (ROOT / folder).rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            assert "__file__" not in text, module
            assert "DVC_ROOT" not in text, module


def test_the_library_knows_neither_dvc_nor_the_stages():
    for module in (ROOT / "tonesift").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(module)} & {"dvc", "dvclive", "optuna", "stages"}, module
