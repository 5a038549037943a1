"""Stubs agree with the module, examples in docstrings run, and a type checker sees the types."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rankstill as rk

HERE = Path(__file__).parent


def checked(*args):
    return subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, cwd=HERE)


def test_mypy_accepts_a_users_program():
    found = checked("mypy", "--strict", "typed.py")
    assert found.returncode == 0, found.stdout


def test_mypy_refuses_each_wrong_line():
    found = checked("mypy", "--strict", "untyped.py")
    wrong = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    calls = [number for number, line in enumerate((HERE / "untyped.py").read_text().splitlines(), 1) if line.startswith("rk.")]
    assert wrong == set(calls), found.stdout


def test_stubs_are_those_of_the_module():
    found = checked("mypy.stubtest", "rankstill._rankstill")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "checked" in found.stdout or "no issues" in found.stdout


def examples():
    """Of the package and of everything public in it."""
    seen = set()
    for name, thing in [("rankstill", rk), *((name, getattr(rk, name)) for name in rk.__all__)]:
        things = [(name, thing)]
        if inspect.isclass(thing):
            things += [(f"{name}.{key}", value) for key, value in vars(thing).items() if not key.startswith("_")]
        elif inspect.ismodule(thing) and thing is not rk:
            things += [(f"{name}.{key}", getattr(thing, key)) for key in thing.__all__]
        for where, one in things:
            if id(one) not in seen:
                seen.add(id(one))
                text = inspect.getdoc(one.__func__ if isinstance(one, staticmethod) else one) or ""
                test = doctest.DocTestParser().get_doctest(text, {}, where, None, 0)
                if test.examples:
                    yield pytest.param(test, id=where)


def toy():
    log = {
        "user": ["ann", "ann", "ann", "bob", "bob", "bob", "cy", "cy", "cy"],
        "item": ["tea", "jam", "milk", "tea", "milk", "jam", "jam", "milk", "tea"],
        "time": [1, 2, 3, 1, 2, 3, 1, 2, 3],
    }
    data = rk.Dataset(log, split=rk.split.LeaveOneOut(valid=False))
    return {"rk": rk, "np": np, "data": data, "model": rk.ItemCf().fit(data)}


@pytest.mark.parametrize("test", list(examples()))
def test_examples_run(test):
    test.globs = toy()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said = []
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_everything_public_has_a_docstring():
    for name in rk.__all__:
        thing = getattr(rk, name)
        if name != "__version__":
            assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for key, value in vars(thing).items():
                if not key.startswith("_") and (callable(value) or inspect.isgetsetdescriptor(value)):
                    assert inspect.getdoc(value), f"{name}.{key}"
