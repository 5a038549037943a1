"""The JSON Schema of experiment files: every experiment of the repository is valid, and what is not an experiment is not."""

import copy
import json
import tomllib
from pathlib import Path

import pytest
import rankstill as rk

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "experiment.schema.json").read_text()))
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_experiments_are_valid(path):
    SCHEMA.validate(tomllib.loads(path.read_text()))


def test_every_misspelt_setting_is_seen():
    experiment = tomllib.loads((ROOT / "experiments" / "hetcomp.toml").read_text())
    tried = 0
    for name, model in experiment["models"].items():
        for key in [key for key in model if "like" not in model]:
            wrong = copy.deepcopy(experiment)
            wrong["models"][name][f"{key}x"] = wrong["models"][name].pop(key)
            assert not SCHEMA.is_valid(wrong), (name, key)
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("name", [name for name in rk.models.__all__ if name != "Compressed"])
def test_the_defaults_of_every_model_are_valid(name):
    model = getattr(rk, name)().to_dict()
    SCHEMA.validate({"data": {"path": "log.csv"}, "models": {"M": {key: value for key, value in model.items() if value is not None}}})
