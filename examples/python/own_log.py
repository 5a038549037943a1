"""From a data frame to a student that answers over HTTP."""

import json
import tempfile
import urllib.request

import rankstill as rk

data = rk.Dataset(rk.simulate(interactions=80_000, users=1500, items=1200, seed=1), filter=rk.Filter(user_core=5, item_core=5))
print(data)

als = rk.ImplicitAls(dim=64).fit(data, name="ALS-64")
student = rk.BprMf(dim=8, start="als", train={"epochs": 30})
alone = student.fit(data)
small = student.distil(data, als)

report = rk.evaluate({"ALS-64": als, "alone": alone, "distilled": small}, data, metrics=["ndcg@10", "recall@20"])
print(report)
print(report.compare("distilled", "alone"))

coded = rk.Compressed(model=rk.ImplicitAls(dim=64), compress=rk.compressors.Int(bits=4)).fit(data)
print(f"{coded.serving_bytes:,} bytes in codes, {als.serving_bytes:,} without, {small.serving_bytes:,} distilled")

place = tempfile.mkdtemp() + "/model"
small.save(place)
with rk.serve(rk.load(place), port=0) as server:
    user = data.users[0]
    with urllib.request.urlopen(f"{server.url}/v1/users/{user}/recommendations?k=3") as answer:
        print(user, [item["item"] for item in json.load(answer)["items"]])
print(user, small.recommend([user], k=3)[0])
