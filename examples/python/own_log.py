"""From a data frame to a student that answers over HTTP."""

import json
import tempfile
import urllib.request

import rankstill as rk

# Your own log here: a data frame of polars, pandas, pyarrow or DuckDB, a dictionary of columns, a sparse matrix, or a path.
log = rk.simulate(interactions=60_000, users=4_000, items=2_000, order=0.1, seed=1)
data = rk.Dataset(log, filter=rk.Filter(user_core=5, item_core=5))
print(data)

# Teachers may be as large and slow as they like. SASRec knows in which order items follow, the others which belong together.
sas_rec = rk.SasRec(
    blocks=1,
    length=20,
    loss={"kind": "softmax", "negatives": 256},
    optimizer={"kind": "adam", "learning_rate": 0.005},
    train={"epochs": 4},
)
members = [
    rk.ImplicitAls(dim=128).fit(data, name="iALS-128"),
    rk.ItemCf().fit(data, name="ItemCF"),
    rk.Ease(dropout=0.5).fit(data, name="EDLAE"),
    sas_rec.fit(data, name="SASRec"),
]
ensemble = rk.Teacher.ensemble(members, fusion={"kind": "comb_sum", "cut": 200}, name="ensemble")

# A student of 16 dimensions begins with ALS. Its rate is .12 divided by the root of the dimensions and falls to 3%; alone it bears an
# eighth of that (docs/defaults.md).
student = rk.BprMf(
    dim=16,
    start="als",
    optimizer={"kind": "adam", "learning_rate": 0.03, "weight_decay": 1e-5},
    final_rate=0.03,
    train={"epochs": 12, "batch_size": 1024, "validate_every": 2, "patience": 10},
)
alone = student.replace(optimizer={"kind": "adam", "learning_rate": 0.03 / 8, "weight_decay": 1e-5}).fit(data)
small = student.distil(data, ensemble)

rankers = {model.name: model for model in members}
report = rk.evaluate({**rankers, "ensemble": ensemble, "alone": alone, "distilled": small}, data, metrics=["ndcg@10", "recall@20"])
print(report, "\n")
print(report.compare("distilled", "alone"), "\n")

# A folder that any process can load; `rankstill serve FOLDER` does the same from a shell.
place = tempfile.mkdtemp() + "/model"
small.save(place)
with rk.serve(rk.load(place), port=0) as server:
    user = data.users[0]
    with urllib.request.urlopen(f"{server.url}/v1/users/{user}/recommendations?k=3") as answer:
        print(user, [item["item"] for item in json.load(answer)["items"]])
print(user, small.recommend([user], k=3)[0])
