"""The main job, small: the pipeline through DVC, the verdict on its bits, a change, the way back, and the filter."""

import sys

import numpy as np
import pytest

from tonesift.streaming.tonefilter import ToneFilter


@pytest.mark.main_job
def test_make_repro_change_undo_and_filter(workspace):
    workspace.set({"evaluate": {"detail": "scores"}})
    workspace.run("dvc", "repro")
    workspace.commit("built")
    assert workspace.run(sys.executable, "-m", "workspace", "verdict").stdout.startswith("The committed bits: all 15")
    model = (workspace.path / "models" / "model.safetensors").read_bytes()
    workspace.run("dvc", "exp", "run", "-S", "train.learning_rate=0.02")
    assert (workspace.path / "models" / "model.safetensors").read_bytes() != model
    assert "The committed bits" in workspace.run(sys.executable, "-m", "workspace", "undo").stdout
    assert (workspace.path / "models" / "model.safetensors").read_bytes() == model
    filtered = ToneFilter.load(workspace.path / "models" / "model.safetensors")
    assert filtered.push(np.zeros(100)).shape == (2, 100)
