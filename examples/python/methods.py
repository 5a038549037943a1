"""Several methods of distillation on one log, compared with the student alone."""

import rankstill as rk

data = rk.Dataset(rk.simulate(interactions=80_000, users=1500, items=1200, seed=1))
teachers = [rk.Ease(l2=100.0).fit(data, name="EASE"), rk.ImplicitAls(dim=64).fit(data, name="ALS-64")]
student = rk.BprMf(dim=8, start="als", train={"epochs": 30})
rankers = {teacher.name: teacher for teacher in teachers} | {"alone": student.fit(data)}
methods = {
    "RD": rk.RankDistil(loss="pair_wise", weighting="position", lambda_=10.0, k=20),
    "RRD": rk.Rrd(mode="direct", k=50, lambda_=1.0),
    "UnKD": rk.UnKd(),
}
for name, method in methods.items():
    both = rk.Teacher.ensemble(teachers, fusion={"kind": "comb_sum"}, name="both")
    rankers[name] = student.distil(data, both, method=method, name=name)

report = rk.evaluate(rankers, data, metrics=["ndcg@10", "recall@20"])
print(report)
for name in methods:
    print(report.compare(name, "alone"), "\n")
