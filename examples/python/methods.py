"""Methods of distillation on one log, compared with the student alone by paired tests."""

import rankstill as rk

data = rk.Dataset(rk.simulate(interactions=60_000, users=4_000, items=2_000, seed=1), filter=rk.Filter(user_core=5, item_core=5))
teachers = [rk.Ease(dropout=0.5).fit(data, name="EDLAE"), rk.ItemCf().fit(data, name="ItemCF")]
both = rk.Teacher.ensemble(teachers, fusion={"kind": "comb_sum", "cut": 200}, name="ensemble")


def student(rate: float) -> rk.BprMf:
    return rk.BprMf(
        dim=16,
        start="als",
        optimizer={"kind": "adam", "learning_rate": rate, "weight_decay": 1e-5},
        final_rate=0.03,
        train={"epochs": 12, "batch_size": 1024},
    )


# A list-wise loss moves many items in a step and bears a rate of .12 divided by the root of the dimensions; in pairs, as without lists, a
# step is on a few items, and bears an eighth of that.
by_list, in_pairs = student(0.03), student(0.03 / 8)
rankers: dict[str, rk.Model | rk.Teacher] = {"ensemble": both, "alone": in_pairs.fit(data)}
rankers["RRD"] = by_list.distil(data, both)  # the default: the first 50 items in their order, above all others
rankers["DCD"] = by_list.distil(data, both, method=rk.Dcd(mode="direct", k=50, lambda_=1.0, correction=0.1))
rankers["HetComp"] = by_list.distil(data, teachers, method=rk.HetComp(curriculum=False, transfer="fine"))
rankers["RD"] = in_pairs.distil(data, both, method=rk.RankDistil(loss="pair_wise", weighting="position", lambda_=10.0, k=20))
rankers["Margin-MSE"] = in_pairs.distil(data, both, method=rk.MarginMse())

report = rk.evaluate(rankers, data, metrics=["ndcg@10", "recall@20"])
print(report)
for name in list(rankers)[2:]:
    print(f"\n{name}\n{report.compare(name, 'alone')}")
