"""Ray: the program of docs/distributed.md, with a node that is killed while it runs."""

import re
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray")

import cluster  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"


def program(folder, out):
    """The one of the page, with folders of ours."""
    section = PAGE.read_text().partition("\n## Ray\n")[2]
    text = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert text.count('"/shared/artefact"') == text.count('"/shared/lists.parquet"') == 1
    return text.replace("/shared/artefact", str(folder / "artefact")).replace("/shared/lists.parquet", str(out))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return cluster.large(tmp_path_factory.mktemp("large"))


@pytest.mark.parametrize("kill", [False, True], ids=["", "kill"])
def test_lists_are_those_of_one_machine(large, tmp_path, kill, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAYON_NUM_THREADS", "1")  # workers inherit it
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        out = tmp_path / "lists.parquet"
        text = program(large, out)
        killed = []

        def kill_a_node():
            while len(list(tmp_path.glob("lists-*.parquet"))) < 3:
                time.sleep(0.02)
            killed.append(len(list(tmp_path.glob("lists-*.parquet"))))
            nodes.remove_node(second, allow_graceful=False)

        if kill:
            threading.Thread(target=kill_a_node, daemon=True).start()
        names = {"__name__": "__main__"}
        start = time.perf_counter()
        exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102
        print(f"\nRay{', a node killed' if kill else ''}: {time.perf_counter() - start:.1f} s")
        if kill:
            assert killed and killed[0] < 24, "in the middle"
        assert len(names["files"]) == 24
        assert cluster.sha(names["files"]) == cluster.sha(large / "whole.parquet")
    finally:
        ray.shutdown()
        nodes.shutdown()
