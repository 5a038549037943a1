"""A network of PyTorch as a teacher: a function that scores a batch of users."""

import rankstill as rk
import torch
from torch import nn
from torch.nn.functional import normalize

torch.manual_seed(1)
data = rk.Dataset(rk.simulate(interactions=60_000, users=4_000, items=2_000, seed=1), filter=rk.Filter(user_core=5, item_core=5))
rows = data.table("train", numbers=True).to_numpy()
seen = torch.zeros(data.n_users, data.n_items)
seen[rows["user_id"].astype("int64"), rows["item_id"].astype("int64")] = 1
histories = normalize(seen)

# A denoising autoencoder with a softmax over all items stands for your network.
net = nn.Sequential(nn.Dropout(0.5), nn.Linear(data.n_items, 256), nn.Tanh(), nn.Linear(256, data.n_items))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)
for _ in range(16):
    for users in torch.randperm(data.n_users).split(128):
        loss = -(net(histories[users]).log_softmax(1) * seen[users]).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()


@torch.no_grad()
def score(batch: rk.Batch) -> torch.Tensor:
    """A row for each user of the batch, a column for each of `data.items`."""
    return net(histories[batch.numbers])


teacher = rk.Teacher.from_scores(score, name="autoencoder")
student = rk.BprMf(
    dim=16,
    start="als",
    optimizer={"kind": "adam", "learning_rate": 0.03, "weight_decay": 1e-5},
    final_rate=0.03,
    train={"epochs": 12, "batch_size": 1024},
)
alone = student.replace(optimizer={"kind": "adam", "learning_rate": 0.03 / 8, "weight_decay": 1e-5}).fit(data)
report = rk.evaluate(
    {"autoencoder": teacher, "alone": alone, "distilled": student.distil(data, teacher)}, data, metrics=["ndcg@10", "recall@20"]
)
print(report, "\n")
print(report.compare("distilled", "alone"))
