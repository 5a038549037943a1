"""A few lines of NumPy as a teacher: a function that scores a batch of users."""

import numpy as np
import rankstill as rk

data = rk.Dataset(rk.simulate(interactions=60_000, users=4_000, items=2_000, seed=1), filter=rk.Filter(user_core=5, item_core=5))
rows = data.table("train", numbers=True).to_numpy()
seen = np.zeros((data.n_users, data.n_items), np.float32)
seen[rows["user_id"], rows["item_id"]] = 1

# Singular vectors of the normalised log stand for your model.
degrees = np.sqrt(np.maximum(seen.sum(0), 1))
_, _, directions = np.linalg.svd(seen / degrees, full_matrices=False)
directions = directions[:64]


def score(batch: rk.Batch) -> np.ndarray:
    """A row for each user of the batch, a column for each of `data.items`."""
    return (seen[batch.numbers] / degrees) @ directions.T @ directions * degrees


teacher = rk.Teacher.from_scores(score, name="SVD-64")
student = rk.BprMf(
    dim=16,
    start="als",
    optimizer={"kind": "adam", "learning_rate": 0.03, "weight_decay": 1e-5},
    final_rate=0.03,
    train={"epochs": 12, "batch_size": 1024},
)
# In pairs and without lists a student bears an eighth of the rate.
slower = student.replace(optimizer={"kind": "adam", "learning_rate": 0.03 / 8, "weight_decay": 1e-5})
rankers: dict[str, rk.Model | rk.Teacher] = {
    "SVD-64": teacher,
    "alone": slower.fit(data),
    "by its lists": student.distil(data, teacher),
    "by its scores": slower.distil(data, teacher, method=rk.MarginMse()),
}
print(rk.evaluate(rankers, data, metrics=["ndcg@10", "recall@20"]))
