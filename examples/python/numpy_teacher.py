"""A teacher that is not of this package: a function that scores a batch of users. A network of PyTorch is the same with
`net(torch.as_tensor(batch.numbers)).detach()` as its last line."""

import numpy as np
import rankstill as rk

data = rk.Dataset(rk.simulate(interactions=80_000, users=1500, items=1200, seed=1))
rows = data.table("train", numbers=True).to_numpy()
seen = np.zeros((data.n_users, data.n_items), np.float32)
seen[rows["user_id"], rows["item_id"]] = 1

# Smoothed singular vectors of the log: a few lines of NumPy stand for your network.
degrees = np.sqrt(np.maximum(seen.sum(0), 1))
_, _, directions = np.linalg.svd(seen / degrees, full_matrices=False)
directions = directions[:64]


def score(batch: rk.Batch) -> np.ndarray:
    """A row for each user of the batch, a column for each of `data.items`."""
    return (seen[batch.numbers] / degrees) @ directions.T @ directions * degrees


teacher = rk.Teacher.from_scores(score, name="SVD-64")
student = rk.BprMf(dim=8, start="als", train={"epochs": 30})
rankers = {
    "SVD-64": teacher,
    "alone": student.fit(data),
    "by its lists": student.distil(data, teacher),
    "by its scores": student.distil(data, teacher, method=rk.MarginMse()),
}
print(rk.evaluate(rankers, data, metrics=["ndcg@10", "recall@20"]))
