"""Teachers of all kinds, and what they teach."""

import numpy as np
import polars as pl
import pytest
import rankstill as rk


def scores(als):
    users, items = als.user_vectors(), als.item_vectors()
    return lambda batch: users[batch.numbers] @ items.T


def teachers(als, data):
    lists = als.recommend(k=30)
    users = data.users
    return {
        "model": als,
        "scores": rk.Teacher.from_scores(scores(als), batch=7),
        "vectors": rk.Teacher.from_vectors(users=als.user_vectors(), items=als.item_vectors()),
        "by id": rk.Teacher.from_vectors(
            users=als.user_vectors()[::-1], items=als.item_vectors()[::-1], user_ids=users[::-1], item_ids=data.items[::-1]
        ),
        "rankings": rk.Teacher.from_rankings(lists),
        "table": rk.Teacher.from_rankings(lists.to_polars().select("user_id", "item_id", "score")),
        "topk": rk.Teacher.from_topk([[item for item, _ in ranked] for ranked in lists], users=users),
    }


def test_however_a_teacher_comes_its_student_is_the_same(als, data, small):
    students = {
        name: small.distil(data, teacher, method=rk.RankDistil(k=5, lambda_=2.0, weighting="position"), seed=1)
        for name, teacher in teachers(als, data).items()
    }
    expected = students["model"].item_vectors()
    for name, student in students.items():
        assert np.array_equal(student.item_vectors(), expected), name
    alone = small.fit(data, seed=1)
    assert not np.array_equal(alone.item_vectors(), expected)


@pytest.mark.parametrize("name", [name for name in rk.distillers.__all__ if name != "Several"])
def test_every_method_teaches(name, als, data, small):
    method = getattr(rk, name)()
    teacher = rk.BprMf(dim=8, train={"epochs": 4, "batch_size": 64}).fit(data) if name == "Bd" else als
    student = small.distil(data, teacher, method=method)
    assert student.card["distilled"]["kind"] == method.kind and student.card["distilled"]["teachers"] == [teacher.name]


def test_methods_of_vectors_learn_from_vectors(als, data, small):
    vectors = rk.Teacher.from_vectors(users=als.user_vectors(), items=als.item_vectors())
    of_model, of_vectors = (small.distil(data, one, method=rk.De()) for one in (als, vectors))
    assert np.array_equal(of_model.item_vectors(), of_vectors.item_vectors())
    with pytest.raises(rk.ConfigError, match="de"):
        small.distil(data, rk.Teacher.from_rankings(als.recommend()), method=rk.De())


def test_het_comp_goes_through_states(als, data, small):
    teacher = rk.BprMf(dim=8, train={"epochs": 20, "batch_size": 64, "validate_every": 2}).fit(data, states=100)
    method = rk.HetComp(k=10, cutoff=10, period=1)
    several = small.distil(data, [teacher, als], method=method)
    files = [als.recommend(k=5), als.recommend(k=30)]
    listed = small.distil(data, rk.Teacher.from_rankings(files), method=method)
    assert several.n_parameters == listed.n_parameters


def test_without_a_method_a_student_is_taught_as_by_the_command_line(als, data):
    taught = rk.BprMf(dim=4, train={"epochs": 3}).distil(data, als)
    assert taught.card["distilled"]["kind"] == "rrd"
    assert taught.config["start"] == "als" and taught.config["final_rate"] == pytest.approx(0.03)
    assert taught.config["optimizer"]["learning_rate"] == pytest.approx(0.12 / 4**0.5)
    assert taught.config["train"]["epochs"] == 3
    # What is given stays, and a method brings the recipe's own defaults.
    rate = {"kind": "adam", "learning_rate": 0.001}
    assert rk.BprMf(dim=4, optimizer=rate).distil(data, als).config["optimizer"]["learning_rate"] == pytest.approx(0.001)
    assert rk.BprMf(dim=4, train={"epochs": 3}).distil(data, als, method=rk.Rrd()).config["start"] == "random"


def test_a_student_can_teach_itself(als, data, small):
    rounds = {"warm_up": 2, "every": 2, "average": 0.5}
    taught = small.distil(data, "self", self_teaching=rounds, seed=1)
    assert taught.card["distilled"]["teachers"] == ["self"]
    assert taught.card["distilled"]["self_teaching"] == rounds
    assert not np.array_equal(taught.item_vectors(), small.fit(data, seed=1).item_vectors())
    with pytest.raises(rk.ConfigError, match="self_teaching"):
        small.distil(data, [als], self_teaching=rounds)
    with pytest.raises(rk.ConfigError, match="average"):
        small.distil(data, "self", self_teaching={"average": 1.0})
    with pytest.raises(rk.ConfigError, match="rankings only"):
        small.distil(data, "self", method=rk.Ftd())


def test_several_teachers_are_one_ensemble(als, data, small):
    members = [als, rk.ItemCf().fit(data), rk.Teacher.from_rankings(als.recommend())]
    both = rk.Teacher.ensemble(members, fusion={"kind": "borda"}, name="all")
    student = small.distil(data, both)
    assert student.card["distilled"]["teachers"] == ["all"]
    report = rk.evaluate({"all": both, "als": als}, data, ["ndcg@10"])
    assert report.value("all", "ndcg@10") > 0


def test_a_function_is_asked_in_batches_and_keeps_its_exceptions(data, small):
    asked = []

    def wrong_shape(batch):
        asked.append(len(batch))
        assert len(batch.users) == len(batch.histories) == len(batch.numbers)
        return np.zeros((len(batch), 3), np.float32)

    class Broken(Exception):
        pass

    def broken(batch):
        raise Broken("no network")

    with pytest.raises(ValueError, match=r"teacher `net`: expected scores of shape \(16, 40\), users x items, found \[16, 3\]"):
        small.distil(data, rk.Teacher.from_scores(wrong_shape, name="net", batch=16))
    assert asked == [16]
    with pytest.raises(Broken, match="no network"):
        small.distil(data, rk.Teacher.from_scores(broken))
    with pytest.raises(Broken):
        rk.evaluate({"net": rk.Teacher.from_scores(broken)}, data, ["ndcg@10"])
    with pytest.raises(TypeError, match="function"):
        rk.Teacher.from_scores(3)


def test_what_does_not_fit_is_named(als, data, small):
    with pytest.raises(ValueError, match="users: expected 60 vectors, found 3"):
        small.distil(data, rk.Teacher.from_vectors(users=np.ones((3, 2)), items=np.ones((40, 2))))
    with pytest.raises(ValueError, match="items: expected vectors of 2, found vectors of 5"):
        rk.Teacher.from_vectors(users=np.ones((3, 2)), items=np.ones((40, 5)))
    with pytest.raises(rk.DataError, match="ranks no user"):
        small.distil(data, rk.Teacher.from_rankings({"user": [1], "item": [2], "rank": [1]}))
    with pytest.raises(TypeError, match="expected a Model or a Teacher, found int"):
        small.distil(data, [3])
    with pytest.raises(rk.ConfigError, match="cannot be a student"):
        rk.Ease().distil(data, als)
    other = rk.Dataset({"user": [1, 1, 2], "item": [7, 8, 7]}, split="all")
    with pytest.raises(rk.DataError, match="other users or items"):
        small.distil(other, als)
    with pytest.raises(rk.ConfigError, match="method.kind"):
        small.distil(data, als, method="nothing")


def test_seeds_decide(als, data, small):
    one, same, other = (small.distil(data, als, seed=seed).item_vectors() for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_tensor_like_answer_will_do(als, data, small):
    class Tensor:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array.astype(dtype or self.array.dtype)

    of = scores(als)
    student = small.distil(data, rk.Teacher.from_scores(lambda batch: Tensor(of(batch).astype(np.float64))))
    assert student.n_parameters == 4 * (60 + 40)
    assert pl.DataFrame(student.recommend(k=1)).shape == (60, 4)
