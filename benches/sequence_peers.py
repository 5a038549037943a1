"""Times the training steps of Caser and Fossil, and a Caser teacher's lists, in Rankstill and in PyTorch, in turn, and prints ratios.

    benches/setup.sh
    .venv/bin/python benches/sequence_peers.py [--threads 2] [--rounds 3]

- Steps on Amazon Beauty: 512 windows of 5 items and their next item, three negatives each, point-wise logistic loss, Adam with
  weight decay 1e-6. Plain PyTorch: nn.Embedding and nn.Conv2d for Caser, nn.EmbeddingBag over padded histories for Fossil,
  torch.optim.Adam over all parameters; Rankstill's `exact` mode gives the same model. PyTorch's negatives come from one randint per
  step and are not checked against the history. The figures are lower quartiles of single steps, for both.
- The ten best items of a Caser of 100 dimensions for all 74,904 training windows of MovieLens 100K. PyTorch as in the RD authors' code:
  every window scores all items through the model in evaluation mode, the 2K best are kept, and the target is skipped.
- The cost of an epoch of Ranking Distillation, as a multiple of an epoch without it, is measured for Rankstill alone.

Every figure is the best of the rounds; the programs alternate. The data are in $RANKSTILL_DATA or ../shared/data.
"""

import math
import time

from peers import DATA, arguments, bench, best_of, figures, ratio, torch_on, use_threads

BATCH, LENGTH, NEGATIVES = 512, 5, 3


def main():
    args = arguments(__doc__).parse_args()
    use_threads(args.threads)

    command = [bench("rankstill-cli", "sequences"), "--bench", "--threads", str(args.threads)]
    best = best_of(args.rounds, lambda: figures(command), lambda: peers(args.threads))
    ratio("Caser step, d 100, PyTorch / ours", best, "torch_caser_100_ms", "caser_100_exact_ms", 10)
    ratio("Caser step, d 50, PyTorch / ours", best, "torch_caser_50_ms", "caser_50_exact_ms", 7)
    ratio("Fossil step, d 50, PyTorch / ours", best, "torch_fossil_50_ms", "fossil_50_exact_ms", 5)
    ratio("teacher's lists, PyTorch / ours", best, "torch_lists_seconds", "teacher_lists_seconds", 50)
    for name in ("caser_50", "fossil_20", "mf_16", "mf_16_shared_samples"):
        if f"rd_epoch_ratio_{name}" in best:
            print(f"RD epoch / epoch alone, {name:21} {best[f'rd_epoch_ratio_{name}']:.2f} (goal: at most 2.5)")


def read(path, share=1.0):
    """The first share of each user's items by time, numbered from 0, and the number of items."""
    users, items = {}, {}
    for line in path.read_text().splitlines()[1:]:
        fields = line.split("\t")
        line = users.setdefault(fields[0], [])
        line.append((float(fields[-1]), items.setdefault(fields[1], len(items))))
    lines = [[item for _, item in sorted(line, key=lambda pair: pair[0])] for line in users.values()]
    return [line[: math.ceil(share * len(line))] for line in lines], len(items)


def windows(lines):
    """(user, previous items, next item) as tensors; previous items are padded on the left with -1."""
    rows = []
    for user, line in enumerate(lines):
        first = min(LENGTH, len(line) - 1)
        rows += [(user, line[:at], line[at]) for at in range(max(first, 1), len(line))]
    return rows


def caser(torch, n_users, n_items, dim):
    nn = torch.nn

    class Caser(nn.Module):
        def __init__(self):
            super().__init__()
            self.users = nn.Embedding(n_users, dim)
            self.items = nn.Embedding(n_items + 1, dim)
            self.vertical = nn.Conv2d(1, 2, (LENGTH, 1))
            self.horizontal = nn.ModuleList([nn.Conv2d(1, 16, (h, dim)) for h in range(1, LENGTH + 1)])
            self.dropout = nn.Dropout(0.5)
            self.fc = nn.Linear(2 * dim + 16 * LENGTH, dim)
            self.out = nn.Embedding(n_items + 1, 2 * dim)
            self.bias = nn.Embedding(n_items + 1, 1)
            for table in (self.users, self.items):
                nn.init.normal_(table.weight, std=1 / dim)
            nn.init.normal_(self.out.weight, std=1 / (2 * dim))
            nn.init.zeros_(self.bias.weight)

        def vectors(self, sequences, users):
            images = self.items(sequences).unsqueeze(1)
            vertical = self.vertical(images).flatten(1)
            horizontal = [conv(images).squeeze(3).amax(2) for conv in self.horizontal]
            z = torch.sigmoid(self.fc(self.dropout(torch.cat([vertical, *horizontal], 1))))
            return torch.cat([z, self.users(users)], 1)

        def forward(self, sequences, users, items):
            x = self.vectors(sequences, users)
            return torch.baddbmm(self.bias(items), self.out(items), x.unsqueeze(2)).squeeze(2)

    return Caser()


def fossil(torch, n_users, n_items, dim):
    nn = torch.nn

    class Fossil(nn.Module):
        def __init__(self):
            super().__init__()
            self.said = nn.EmbeddingBag(n_items, dim, mode="sum")
            self.scored = nn.Embedding(n_items, dim)
            self.bias = nn.Embedding(n_items, 1)
            self.weights = nn.Parameter(torch.zeros(LENGTH))
            self.own_weights = nn.Embedding(n_users, LENGTH)
            for table in (self.said, self.scored, self.own_weights):
                nn.init.normal_(table.weight, std=0.1)
            nn.init.zeros_(self.bias.weight)

        def forward(self, history, starts, share, latest, users, items):
            similar = self.said(history, starts, per_sample_weights=None) * share.unsqueeze(1)
            chain = nn.functional.embedding(latest, self.said.weight)
            weights = self.weights + self.own_weights(users)
            x = similar + (weights.unsqueeze(2) * chain).sum(1)
            return torch.baddbmm(self.bias(items), self.scored(items), x.unsqueeze(2)).squeeze(2)

    return Fossil()


def peers(threads):
    torch = torch_on(threads)
    if torch is None:
        return []
    lines, n_items = read(DATA / "amazon-beauty" / "interactions.tsv")
    rows = windows(lines)
    found = [
        (f"torch_caser_{dim}_ms", step_of_caser(torch, caser(torch, len(lines), n_items, dim), rows, n_items)) for dim in (100, 50)
    ]
    found.append(("torch_fossil_50_ms", step_of_fossil(torch, fossil(torch, len(lines), n_items, 50), rows, n_items)))
    return [*found, *authors_lists(torch)]


def milliseconds(torch, model, batch_of, steps=25):
    """Lower quartile of the milliseconds of some steps, everything included."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    model.train()
    laps = []
    for step in range(steps):
        begin = time.perf_counter()
        scores = model(*batch_of(step))
        targets, negatives = scores[:, 0], scores[:, 1:]
        softplus = torch.nn.functional.softplus
        loss = (softplus(-targets) + softplus(negatives).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        laps.append(time.perf_counter() - begin)
    return 1e3 * sorted(laps[5:])[len(laps[5:]) // 4]


def with_negatives(torch, targets, n_items):
    return torch.cat([targets.unsqueeze(1), torch.randint(n_items, (len(targets), NEGATIVES))], 1)


def padded(rows, padding):
    return [([padding] * LENGTH + before)[-LENGTH:] for _, before, _ in rows]


def step_of_caser(torch, model, rows, n_items):
    users = torch.tensor([user for user, _, _ in rows])
    sequences = torch.tensor(padded(rows, n_items))
    targets = torch.tensor([target for _, _, target in rows])
    order = torch.randperm(len(rows))

    def batch(step):
        at = order[step * BATCH : (step + 1) * BATCH]
        return sequences[at], users[at], with_negatives(torch, targets[at], n_items)

    return milliseconds(torch, model, batch)


def step_of_fossil(torch, model, rows, n_items):
    order = torch.randperm(len(rows)).tolist()
    batches = []
    for step in range(25):
        part = [rows[at] for at in order[step * BATCH : (step + 1) * BATCH]]
        history = torch.tensor([item for _, before, _ in part for item in before])
        lengths = torch.tensor([len(before) for _, before, _ in part])
        latest = torch.tensor([list(reversed((before[:1] * LENGTH + before)[-LENGTH:])) for _, before, _ in part])
        users = torch.tensor([user for user, _, _ in part])
        targets = torch.tensor([target for _, _, target in part])
        batches.append((history, lengths.cumsum(0) - lengths, lengths.float() ** -0.2, latest, users, targets))

    def batch(step):
        *rest, targets = batches[step]
        return (*rest, with_negatives(torch, targets, n_items))

    return milliseconds(torch, model, batch)


def authors_lists(torch, k=10):
    """CPU seconds and seconds for all windows, from a part of them."""
    lines, n_items = read(DATA / "ml-100k" / "ml-100k.inter", 0.8)
    rows = windows(lines)
    model = caser(torch, len(lines), n_items, 100).eval()
    everything = torch.arange(n_items + 1)
    part = rows[:: max(1, len(rows) // 3000)]
    sequences = torch.tensor(padded(part, n_items))
    kept = 0
    used, begin = time.process_time(), time.perf_counter()
    with torch.no_grad():
        for at, (user, _, target) in enumerate(part):
            x = model.vectors(sequences[at : at + 1], torch.tensor([user]))
            scores = (model.out(everything) @ x[0]) + model.bias(everything).squeeze(1)
            best = torch.topk(scores, 2 * k).indices.tolist()
            kept += len([item for item in best if item != target][:k])
    assert kept == k * len(part)
    times = len(rows) / len(part)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - used
    return [("torch_lists_seconds", seconds * times), ("torch_lists_cpu_seconds", cpu * times)]


if __name__ == "__main__":
    main()
