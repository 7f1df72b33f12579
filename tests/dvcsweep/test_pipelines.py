"""What decides a pipeline's outcome, however it is written."""

import subprocess

import pytest
from tiny import Tiny

from dvcsweep import pipeline
from dvcsweep.errors import StudyError
from dvcsweep.running import runcache

PARAMS = "data: {name: one, rows: 5}\nmodel: {width: 4, size: 3}\n"
SETTINGS = {"data.name": "one", "data.rows": 5, "model.width": 4, "model.size": 3}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    tiny = Tiny.make(tmp_path)
    for name, value in tiny.environment.items():
        monkeypatch.setenv(name, value)
    return tiny


def found(tiny, commit, file="dvc.yaml", params="params.yaml", **varying):
    return pipeline.variants(tiny.repository, commit, file, params, SETTINGS, varying)


def decided(tiny, commit, file="dvc.yaml", params="params.yaml", keys=("model.width",), settings=SETTINGS):
    stages = pipeline.variants(tiny.repository, commit, file, params, settings, {key: [1] for key in keys})
    return pipeline.inputs(tiny.repository, commit, params, stages, settings, keys)


# What a stage's file may look like, and the one dependency by which its outcome is decided.
WRITTEN = {
    "plain": ("stages:\n  fit: {cmd: a, deps: [src/a.py]}\n", "src/a.py"),
    "vars": ("vars: [{src: src}]\nstages:\n  fit: {cmd: a, deps: ['${src}/a.py']}\n", "src/a.py"),
    "vars in a file": ("vars: [places.yaml]\nstages:\n  fit: {cmd: a, deps: ['${src}/a.py']}\n", "src/a.py"),
    "vars of a stage": ("stages:\n  fit: {vars: [{src: src}], cmd: a, deps: ['${src}/a.py']}\n", "src/a.py"),
    "a parameter": ("stages:\n  fit: {cmd: a, deps: ['src/${data.name}.txt']}\n", "src/one.txt"),
    "foreach": ("stages:\n  fit: {foreach: [a, b], do: {cmd: a, deps: ['src/${item}.py']}}\n", "src/b.py"),
    "foreach of mappings": (
        "stages:\n  fit: {foreach: {x: {file: a}}, do: {cmd: a, deps: ['src/${item.file}.py']}}\n",
        "src/a.py",
    ),
    "matrix": ("stages:\n  fit: {matrix: {x: [a, b], y: [1]}, cmd: a, deps: ['src/${item.x}.py']}\n", "src/b.py"),
    "wdir": ("stages:\n  fit: {cmd: a, wdir: src, deps: [a.py]}\n", "src/a.py"),
    "a folder": ("stages:\n  fit: {cmd: a, deps: [src]}\n", "src"),
    "another parameters file": ("stages:\n  fit: {cmd: a, params: [{places.yaml: [src]}]}\n", "places.yaml"),
    "a stage before it": (
        "stages:\n  prep: {cmd: a, deps: [src/a.py], outs: [x]}\n  fit: {cmd: b, deps: [x]}\n",
        "src/a.py",
    ),
}
FILES = {
    "params.yaml": PARAMS,
    "places.yaml": "src: src\n",
    **dict.fromkeys(("src/a.py", "src/b.py", "src/one.txt", "src/two.txt", "README"), "1"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_dependency_counts_however_the_pipeline_is_written(tiny, kind):
    text, path = WRITTEN[kind]
    before = decided(tiny, tiny.commit({**FILES, "dvc.yaml": text}))
    assert before.files[path] == tiny.git("rev-parse", f"HEAD:{path}")
    assert decided(tiny, tiny.commit({"README": "2", "params.yaml": f"# hello\n{PARAMS}"})).changed(before) == []
    changed = path if "." in path else f"{path}/a.py"
    after = decided(tiny, tiny.commit({changed: FILES[changed] + "\n# other\n"}))
    assert after.changed(before) == before.changed(after) == [path]


def test_data_made_by_another_file_is_decided_by_what_that_depends_on(tiny):
    other = (
        "stages:\n  prep: {cmd: a, deps: [prep.py], outs: [x.csv]}\n  unread: {cmd: a, deps: [no.py], outs: [y.csv]}\n"
    )
    own = "stages:\n  fit: {cmd: b, deps: [data/x.csv], metrics: [m.json]}\n"
    files = {"data/dvc.yaml": other, "data/prep.py": "1", "data/no.py": "1", "dvc.yaml": own, "params.yaml": PARAMS}
    first = tiny.commit(files)
    assert [stage.name for stage in found(tiny, first)] == ["fit", "data/dvc.yaml:prep"]
    before = decided(tiny, first)
    assert set(before.files) == {"dvc.yaml", "data/dvc.yaml", "data/prep.py"}
    assert decided(tiny, tiny.commit({"data/no.py": "2"})).changed(before) == []
    assert decided(tiny, tiny.commit({"data/prep.py": "2"})).changed(before) == ["data/prep.py"]


def test_a_varied_parameter_in_a_template_brings_the_dependencies_of_all_its_values(tiny):
    commit = tiny.commit({**FILES, "dvc.yaml": WRITTEN["a parameter"][0]})
    stages = found(tiny, commit, **{"data.name": ["one", "two"]})
    assert {dep for stage in stages for dep in stage.deps} == {"src/one.txt", "src/two.txt"}
    assert all(stage.reads("params.yaml", ["data.name"]) for stage in stages)  # DVC tracks what a template uses
    assert len(found(tiny, commit, **{"data.rows": [1, 2]})) == 1
    elsewhere = pipeline.stages(tiny.repository, commit, "dvc.yaml", "params.yaml", {**SETTINGS, "data.name": "two"})
    assert [stage.deps for stage in elsewhere] == [("src/two.txt",)]


def test_templates_of_a_pipeline_in_a_subfolder(tiny):
    text = "stages:\n  fit: {cmd: a, wdir: in, deps: ['${data.name}.txt']}\n"
    tree = {"deep/ml/dvc.yaml": text, "deep/ml/params.yaml": PARAMS, "params.yaml": "data: {name: three}\n"}
    commit = tiny.commit(tree | {"deep/ml/in/one.txt": "1", "deep/ml/in/two.txt": "1"})
    place = ("deep/ml/dvc.yaml", "deep/ml/params.yaml")
    stages = found(tiny, commit, *place, **{"data.name": ["two"]})
    assert [stage.deps for stage in stages] == [("deep/ml/in/one.txt",), ("deep/ml/in/two.txt",)]
    assert all(stage.reads(place[1], ["data.name"]) and not stage.reads(place[1], ["data.rows"]) for stage in stages)


@pytest.mark.parametrize("kind", ["data", "import-url"])
def test_tracked_data_counts_by_its_file(tiny, kind):
    tail = "frozen: true\ndeps:\n- {path: 'https://host/x', etag: aaa}\n" if kind == "import-url" else ""
    tracked = f"outs:\n- {{md5: {'a' * 32}, size: 1, path: raw}}\n{tail}"
    files = {"dvc.yaml": "stages:\n  fit: {cmd: a, deps: [raw/one.csv]}\n", "raw.dvc": tracked, "params.yaml": PARAMS}
    before = decided(tiny, tiny.commit(files))
    assert set(before.files) == {"dvc.yaml", "raw.dvc"}
    assert decided(tiny, tiny.commit({"raw.dvc": tracked.replace("aaaa", "bbbb")})).changed(before) == ["raw.dvc"]


LOCK = """schema: '2.0'
stages:
  get:
    cmd: curl
    deps: [{path: get.py, md5: %s, size: 1}]
    params: {params.yaml: {data.rows: %d}}
    outs: [{path: raw.csv, md5: %s, size: 1}]
  fit:
    cmd: fit
    deps: [{path: raw.csv, md5: %s, size: 1}]
    params: {params.yaml: {model.width: 4}}
    outs: [{path: model, md5: %s, size: 1}]
"""
A, B = "a" * 32, "b" * 32


def downloads(how: str) -> dict[str, str]:
    return {
        "dvc.yaml": f"stages:\n  get: {{cmd: curl, deps: [get.py], params: [data.rows], outs: [raw.csv]{how}}}\n"
        "  fit: {cmd: fit, deps: [raw.csv], params: [model.width], outs: [model]}\n",
        "get.py": "1",
        "params.yaml": PARAMS,
        "dvc.lock": LOCK % (A, 5, A, A, A),
    }


@pytest.mark.parametrize("how", ["", ", always_changed: true", ", frozen: true"])
def test_what_was_downloaded_again_counts_though_only_the_lock_changed(tiny, how):
    before = decided(tiny, tiny.commit(downloads(how)))
    model = tiny.commit({"dvc.lock": LOCK % (A, 5, A, A, B)})
    assert decided(tiny, model).changed(before) == []  # a trial makes its own model
    data = decided(tiny, tiny.commit({"dvc.lock": LOCK % (A, 5, B, B, B)}))
    assert data.changed(before) == before.changed(data) == ["the data of stage get"]


def test_data_made_of_other_code_is_told_by_that_code_alone(tiny):
    """A lock that is brought up to date is no other data."""
    before = decided(tiny, tiny.commit(downloads("")))
    assert decided(tiny, tiny.commit({"get.py": "2"})).changed(before) == ["get.py"]
    behind = decided(tiny, tiny.git("rev-parse", "HEAD"))
    assert decided(tiny, tiny.commit({"dvc.lock": LOCK % (B, 5, B, B, B)})).changed(behind) == []


def test_data_of_other_settings_is_not_what_trials_take(tiny):
    """The lock holds data of the committed parameters; trials of a study with a base make their own."""
    own = {**SETTINGS, "data.rows": 9}
    before = decided(tiny, tiny.commit(downloads("")), settings=own)
    assert decided(tiny, tiny.commit({"dvc.lock": LOCK % (A, 5, B, B, B)}), settings=own).changed(before) == []
    assert decided(tiny, tiny.git("rev-parse", "HEAD"), keys=("data.rows",)).made == {}


def test_a_dependency_with_a_url_counts_as_the_lock_has_it(tiny):
    text = "stages:\n  fit: {cmd: fit, deps: ['https://host/x.csv'], outs: [model]}\n"
    lock = LOCK.split("  fit:")[0].split("  get:")[0] + (
        "  fit:\n    cmd: fit\n    deps: [{path: 'https://host/x.csv', etag: %s}]\n    outs: [{path: model, md5: %s}]\n"
    )
    before = decided(tiny, tiny.commit({"dvc.yaml": text, "params.yaml": PARAMS, "dvc.lock": lock % ("aaa", A)}))
    assert before.files["https://host/x.csv"] == "{'etag': 'aaa'}"
    assert decided(tiny, tiny.commit({"dvc.lock": lock % ("bbb", A)})).changed(before) == ["https://host/x.csv"]


def test_a_project_in_a_subfolder_reads_what_lies_beside_it(tiny):
    tiny.write({".dvc/config": None, ".dvc/.gitignore": None})
    own = "stages:\n  fit: {cmd: a, deps: [fit.py, ../common/lib.py], params: [model], metrics: [m.json]}\n"
    files = {"one/.dvc/config": "", "two/.dvc/config": "", "common/lib.py": "1", "one/fit.py": "1"}
    files |= {"one/dvc.yaml": own, "two/dvc.yaml": "stages:\n  fit: {cmd: a}\n", "one/params.yaml": PARAMS}
    before = decided(tiny, tiny.commit(files), "one/dvc.yaml", "one/params.yaml")
    assert set(before.files) == {"one/dvc.yaml", "one/fit.py", "common/lib.py"}
    (stage,) = found(tiny, tiny.git("rev-parse", "HEAD"), "one/dvc.yaml", "one/params.yaml")
    assert (stage.name, stage.metrics, stage.params) == ("fit", ("one/m.json",), {"one/params.yaml": ("model",)})
    after = decided(tiny, tiny.commit({"common/lib.py": "2"}), "one/dvc.yaml", "one/params.yaml")
    assert after.changed(before) == ["common/lib.py"]


def test_a_dependency_in_a_submodule_counts_as_the_submodules_commit(tiny, tmp_path):
    library = tmp_path / "library"

    def git(*arguments):
        subprocess.run(["git", "-C", str(library), *arguments], check=True, capture_output=True)

    library.mkdir()
    git("init", "--quiet")
    (library / "lib.py").write_text("1")
    git("add", "."), git("commit", "-m", "1")
    tiny.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "extern")
    files = {"dvc.yaml": "stages:\n  fit: {cmd: a, deps: [extern/lib.py]}\n", "params.yaml": PARAMS}
    before = decided(tiny, tiny.commit(files))
    assert before.files["extern/lib.py"] == tiny.git("-C", "extern", "rev-parse", "HEAD")
    tiny.git("-C", "extern", "commit", "--quiet", "--allow-empty", "--message", "2")
    assert decided(tiny, tiny.commit()).changed(before) == ["extern/lib.py"]


@pytest.mark.parametrize(
    ("declared", "hidden"),
    [
        ("[model]", ["model.size"]),
        ("[model.size]", []),
        ("[model.width]", []),
        ("[{params.yaml: null}]", ["model.size"]),
        ("[data]", []),
    ],
)
def test_parameters_that_the_run_cache_takes_no_notice_of(tiny, declared, hidden):
    commit = tiny.commit({"dvc.yaml": f"stages:\n  fit: {{cmd: a, params: {declared}}}\n", "params.yaml": PARAMS})
    (stage,) = found(tiny, commit)
    assert stage.hides("params.yaml", SETTINGS) == hidden


def test_the_run_caches_key_is_dvcs_own_but_for_parameters_with_such_names():
    def entry(**params):
        return {
            "cmd": "a",
            "deps": [{"path": "x", "md5": A, "size": 3, "nfiles": 1}],
            "params": {"params.yaml": params},
            "outs": [{"path": "y", "md5": B, "size": 4, "files": [{"relpath": "z", "size": 4}]}],
        }

    from dvc.stage.cache import _get_cache_hash as dvcs

    for key in (True, False):
        assert runcache.digest(entry(width=4), key=key) == dvcs(entry(width=4), key=key)
        assert dvcs(entry(t={"size": 4}), key=key) == dvcs(entry(t={"size": 5}), key=key)  # what is to be mended
        assert runcache.digest(entry(t={"size": 4}), key=key) != runcache.digest(entry(t={"size": 5}), key=key)
        assert runcache.digest(entry(nfiles=4), key=key) != runcache.digest(entry(nfiles=5), key=key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages:\n  fit: {cmd: '${none}'}\n", "Could not find 'none'"),
        ("stages:\n  fit: {cmd: a, cdm: b}\n", "dvc.yaml"),
        ("stages:\n  one: {cmd: a, outs: [x]}\n  two: {cmd: a, outs: [x]}\n", "specified in"),
        (
            "stages:\n  one: {cmd: a, deps: [y], outs: [x]}\n  two: {cmd: a, deps: [x], outs: [y]}\n",
            "both a dependency and an output in stages: dvc.yaml:(two, dvc.yaml:one|one, dvc.yaml:two)",
        ),
    ],
)
def test_what_dvc_cannot_resolve_is_told_in_its_words(tiny, text, said):
    commit = tiny.commit({"dvc.yaml": text, "params.yaml": PARAMS})
    with pytest.raises(StudyError, match=f"dvc.yaml at commit {commit[:7]}: DVC cannot resolve it: .*{said}") as caught:
        found(tiny, commit)
    assert "\n" not in str(caught.value)
