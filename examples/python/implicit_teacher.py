"""The factors of `implicit` as a teacher, handed over in three ways: the students are equally good."""

import numpy as np
import rankstill as rk
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

data = rk.Dataset(rk.simulate(interactions=60_000, users=4_000, items=2_000, seed=1), filter=rk.Filter(user_core=5, item_core=5))
rows = data.table("train", numbers=True).to_numpy()
matrix = csr_matrix((np.ones(len(rows["user_id"]), np.float32), (rows["user_id"], rows["item_id"])), shape=(data.n_users, data.n_items))
with threadpool_limits(1, "blas"):  # as `implicit` asks for
    theirs = AlternatingLeastSquares(factors=128, alpha=10.0, regularization=80.0, random_state=0)
    theirs.fit(matrix, show_progress=False)
users, items = np.asarray(theirs.user_factors), np.asarray(theirs.item_factors)

numbers, _ = theirs.recommend(np.arange(data.n_users), matrix, N=50)
names = np.array(data.items)
teachers = {
    "from_vectors": rk.Teacher.from_vectors(users=users, items=items),
    "from_scores": rk.Teacher.from_scores(lambda batch: users[batch.numbers] @ items.T),
    "from_topk": rk.Teacher.from_topk(names[numbers], users=data.users),
}
student = rk.BprMf(
    dim=16,
    start="als",
    optimizer={"kind": "adam", "learning_rate": 0.03, "weight_decay": 1e-5},
    final_rate=0.03,
    train={"epochs": 12, "batch_size": 1024},
)
alone = student.replace(optimizer={"kind": "adam", "learning_rate": 0.03 / 8, "weight_decay": 1e-5}).fit(data)
rankers: dict[str, rk.Model | rk.Teacher] = {"implicit": teachers["from_vectors"], "alone": alone}
for way, teacher in teachers.items():
    rankers[way] = student.distil(data, teacher)
print(rk.evaluate(rankers, data, metrics=["ndcg@10", "recall@20"]))
