"""Classes of settings: generated, frozen, checked, and equal to what experiment files say."""

import inspect
import pickle

import numpy as np
import pytest
import rankstill as rk

ENTRIES = [
    getattr(module, name)
    for module in (rk.models, rk.distillers, rk.compressors, rk.split, rk.tables)
    for name in module.__all__
    if name not in ("Several", "Compressed")
]


def narrow(value):
    """The same with numbers of 32 bits, as some settings are."""
    if isinstance(value, dict):
        return {key: narrow(inner) for key, inner in value.items()}
    return float(np.float32(value)) if isinstance(value, float) else value


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
def test_every_class_has_the_defaults_that_it_shows(kind):
    settings = kind()
    for name, parameter in inspect.signature(kind).parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if name != "preset" or name in settings.to_dict():
            assert narrow(getattr(settings, name)) == narrow(parameter.default.value), name
    assert settings == kind() and hash(settings) == hash(kind()) and pickle.loads(pickle.dumps(settings)) == settings
    assert "Example:" in kind.__doc__ and repr(settings) == f"{kind.__name__}()"


def test_settings_are_frozen_and_checked_at_once():
    mf = rk.BprMf(dim=16, train={"epochs": 3})
    with pytest.raises(AttributeError, match="replace"):
        mf.dim = 8
    assert mf.train["epochs"] == 3 and mf.train["batch_size"] == 2048
    assert mf.replace(dim=8) == rk.BprMf(dim=8, train={"epochs": 3})
    with pytest.raises(TypeError):
        rk.BprMf(dimm=16)
    with pytest.raises(rk.ConfigError, match="bpr_mf.train.epoch: unknown field"):
        rk.BprMf(train={"epoch": 3})
    with pytest.raises(rk.ConfigError, match="bpr_mf.dim"):
        rk.BprMf(dim=0)
    with pytest.raises(AttributeError, match="no setting `sizes`"):
        _ = mf.sizes


def test_words_of_python_have_an_underscore():
    method = rk.RankDistil(lambda_=2.0)
    assert method.lambda_ == 2.0 and method.to_dict()["lambda"] == 2.0 and pickle.loads(pickle.dumps(method)) == method
    assert rk.Filter(from_="2020-01-01").to_dict()["from"] == 1577836800


def test_presets_keep_what_is_given():
    assert rk.HetComp(preset="paper").grade == "teacher"
    assert rk.HetComp(preset="paper", grade="student").grade == "student"


def test_classes_go_into_classes():
    both = rk.Several(of=[rk.Rrd(k=4, mode="direct"), rk.Ftd()])
    assert [one["kind"] for one in both.to_dict()["of"]] == ["rrd", "ftd"]
    coded = rk.Compressed(model=rk.ImplicitAls(dim=8), compress=rk.compressors.Int(bits=4))
    assert coded.to_dict()["model"]["dim"] == 8


def test_metrics_are_names():
    assert str(rk.metrics.Ndcg(at=10)) == "ndcg@10" and str(rk.metrics.Map()) == "map"
    assert str(rk.metrics.Rbo(at=50, p=0.9)) == "rbo:0.9@50"
    assert pickle.loads(pickle.dumps(rk.metrics.Recall(at=5))) == rk.metrics.Recall(at=5)
