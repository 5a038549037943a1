"""The student losses of the two papers written plainly in PyTorch, beside ours: same lists, same batches and epochs, final quality.

    benches/setup.sh
    .venv/bin/python benches/authors_losses.py [ml-100k citeulike-t] [--seeds 1 2 3] [--out runs/authors] [--binary target/release/rankstill] [--json FILE]

iALS with 64 dimensions is fitted on training and validation part, and the hundred best unseen items of every user are written to a file. A
matrix factorisation with 20 dimensions is then taught from this file, by `rankstill run` and by the code below, which follows the papers'
equations with none of our kernels: `nn.Embedding`, one matrix of all scores where a loss needs it, `torch.optim.Adam`. What both are told is the same;
what they draw at random (first vectors, order, negatives) is not, so each is repeated with several seeds. Both are measured here, by NumPy.

- **RD**: Tang & Wang, KDD 2018: equation 4 with alpha .5, BPR as the student's own loss, equation 6 with the hybrid weights of equations 7 to 9, ranks
  estimated by Algorithm 1 from 100 random unlabelled items, positions alone during the first 10 epochs.
- **HetComp, overall** and **HetComp, fine**: Kang et al., WWW 2023, as in the authors' code, without a curriculum (a file has no earlier states).
"""

import json
import pathlib
import statistics
import subprocess
import time

from peers import DATA, ROOT, arguments, torch_on, use_threads

DIM, BATCH, DECAY, INIT = 20, 1024, 1e-5, 0.01
K, OBSERVED, OVERALL, FINE = 100, 10, 0.01, 0.005
RD = {"k": 10, "alpha": 0.5, "lambda": 1.0, "mu": 0.1, "epsilon": 100, "warm_up": 10}
LOGS = {
    "ml-100k": {
        "data": f'path = "{DATA}/ml-100k/ml-100k.inter"',
        "epochs": {"RD": 60, "HetComp, overall": 30, "HetComp, fine": 30},
        "rate": {"RD": 0.005, "HetComp, overall": 0.005, "HetComp, fine": 0.005},
    },
    "citeulike-t": {
        "data": "parts = {"
        + ", ".join(f'{part} = "{DATA}/citeulike-t/{part}.tsv"' for part in ("train", "valid", "test"))
        + '}\nsplit = { kind = "ready_made" }',
        "epochs": {"RD": 30, "HetComp, overall": 6, "HetComp, fine": 6},
        "rate": {"RD": 0.005, "HetComp, overall": 0.02, "HetComp, fine": 0.02},
    },
}


def main():
    parser = arguments(__doc__)
    parser.add_argument("logs", nargs="*", default=list(LOGS), help=", ".join(LOGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "authors")
    parser.add_argument("--binary", help="a built rankstill; by default the release profile is built")
    parser.add_argument("--json", type=pathlib.Path, help="also write what was measured to this file")
    args = parser.parse_args()
    use_threads(args.threads)
    torch = torch_on(args.threads)
    if torch is None:
        raise SystemExit("benches/setup.sh installs PyTorch")
    if args.binary is None:
        subprocess.run(["cargo", "build", "--release", "-p", "rankstill-cli", "--quiet"], cwd=ROOT, check=True)
        args.binary = ROOT / "target" / "release" / "rankstill"
    found = []
    for name in args.logs:
        found += compare(torch, name, args)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def compare(torch, name, args):
    out, log = args.out / name, LOGS[name]
    out.mkdir(parents=True, exist_ok=True)
    lists = out / "lists.tsv"
    if not lists.exists():
        experiment(out / "teacher.toml", log, '[models.T]\nkind = "implicit_als"\ndim = 64\n')
        rankstill(args, "run", out / "teacher.toml", "--out", out / "teacher", "--quiet")
        artefact = next((out / "teacher" / "models" / "T").glob("seed-*/artefact"))
        rankstill(args, "recommend", artefact, "--all", "--k", K, "--out", lists, "--quiet")
    world = World(torch, out / "teacher" / "data", lists)
    experiment(out / "students.toml", log, students(log, lists))
    print(f"\n{name}: {world.n_users} users, {world.n_items} items; seeds {args.seeds}")
    print(f"{'loss':18} {'epochs':>6} {'ours: recall@20':>18} {'ndcg@20':>16} {'PyTorch: recall@20':>20} {'ndcg@20':>16} {'seconds':>16}")
    rows = []
    seeds = ",".join(map(str, args.seeds))
    rankstill(args, "run", out / "students.toml", "--out", out / "students", "--seeds", seeds, "--quiet")
    report = json.loads((out / "students" / "report.json").read_text())
    ours_by_name = {row["name"]: row for row in report["models"]}
    for method in log["epochs"]:
        ours = {metric: ours_by_name[method]["metrics"][metric]["values"] for metric in ("recall@20", "ndcg@20")}
        seconds = [ours_by_name[method]["training"]["seconds"]]
        theirs = {"recall@20": [], "ndcg@20": []}
        took = []
        for seed in args.seeds:
            begin = time.perf_counter()
            users, items = train(torch, world, method, log["epochs"][method], log["rate"][method], seed)
            took.append(time.perf_counter() - begin)
            for metric, value in world.measure(users, items).items():
                theirs[metric].append(value)
        seconds.append(statistics.mean(took))
        rows.append(
            {
                "log": name,
                "loss": method,
                "epochs": log["epochs"][method],
                "seeds": args.seeds,
                "ours": ours,
                "pytorch": theirs,
                "seconds": seconds,
            }
        )
        cells = [spread(side[metric]) for side in (ours, theirs) for metric in ("recall@20", "ndcg@20")]
        print(
            f"{method:18} {log['epochs'][method]:6} {cells[0]:>18} {cells[1]:>16} {cells[2]:>20} {cells[3]:>16} {seconds[0]:7.1f} {seconds[1]:8.1f}",
            flush=True,
        )
    return rows


def spread(values):
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def rankstill(args, *words):
    subprocess.run([args.binary, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def experiment(path, log, models):
    path.write_text(
        f'name = "Authors\' losses"\n\n[data]\n{log["data"]}\n\n[evaluate]\nmetrics = ["recall@20", "ndcg@20"]\n'
        f'fit_on = "train+valid"\nlatency_seconds = 0.0\n\n{models}'
    )


def students(log, lists):
    text = f'[models.Lists]\nkind = "rankings"\npath = "{lists}"\n\n'
    for method, epochs in log["epochs"].items():
        if method == "RD":
            settings = ", ".join(f"{key} = {value}" for key, value in RD.items())
            distill = f'kind = "rank_distil", {settings}'
        else:
            transfer = method.split(", ")[1]
            distill = f'kind = "het_comp", curriculum = false, transfer = "{transfer}", k = {K}, observed = {OBSERVED}, rest = "exact"'
        text += (
            f'[models."{method}"]\nkind = "bpr_mf"\ndim = {DIM}\ninit_std = {INIT}\n'
            f'optimizer = {{ kind = "adam", mode = "exact", learning_rate = {log["rate"][method]}, weight_decay = {DECAY} }}\n'
            f"train = {{ epochs = {epochs}, batch_size = {BATCH} }}\n"
            f'distill = {{ teachers = ["Lists"], {distill} }}\n\n'
        )
    return text


class World:
    """The parts of the run and the teacher's lists, by the run's own numbers of users and items."""

    def __init__(self, torch, folder, lists):
        import numpy
        import polars

        user_ids, item_ids = (polars.read_parquet(folder / f"{side}.parquet")["id"].to_list() for side in ("users", "items"))
        self.n_users, self.n_items = len(user_ids), len(item_ids)
        parts = [polars.read_parquet(folder / f"{part}.parquet") for part in ("train", "valid")]
        rows = polars.concat(parts).select("user_number", "item_number").to_numpy().astype("int64")
        # Rows of a user follow one another, in the order of the log.
        self.cases = torch.from_numpy(rows)
        self.labelled = torch.zeros(self.n_users, self.n_items, dtype=torch.bool)
        self.labelled[self.cases[:, 0], self.cases[:, 1]] = True
        users, items = ({str(one): at for at, one in enumerate(ids)} for ids in (user_ids, item_ids))
        self.lists = torch.full((self.n_users, K), -1, dtype=torch.int64)
        table = polars.read_csv(lists, separator="\t", schema_overrides={"user_id": polars.String, "item_id": polars.String})
        for user, item, rank in table.select("user_id", "item_id", "rank").iter_rows():
            self.lists[users[user], rank - 1] = items[item]
        own = [[] for _ in range(self.n_users)]
        for user, item in rows.tolist():
            if item not in own[user]:
                own[user].append(item)
        self.own = torch.full((self.n_users, OBSERVED), -1, dtype=torch.int64)
        for user, of in enumerate(own):
            self.own[user, : min(OBSERVED, len(of))] = torch.tensor(of[:OBSERVED], dtype=torch.int64)
        test = polars.read_parquet(folder / "test.parquet").select("user_number", "item_number").to_numpy()
        self.targets = {}
        for user, item in test.tolist():
            if not self.labelled[user, item]:
                self.targets.setdefault(user, set()).add(item)
        self.numpy = numpy

    def measure(self, users, items, n=20):
        """Recall@20 and nDCG@20 of dot products, over the test users, without items of training and validation."""
        numpy = self.numpy
        discount = 1 / numpy.log2(numpy.arange(2, n + 2))
        recall = ndcg = 0.0
        for user, targets in self.targets.items():
            scores = numpy.where(self.labelled[user].numpy(), -numpy.inf, items @ users[user])
            top = numpy.argsort(-scores, kind="stable")[:n]
            hits = numpy.isin(top, list(targets))
            recall += hits.sum() / len(targets)
            ndcg += (hits * discount).sum() / discount[: min(n, len(targets))].sum()
        return {"recall@20": recall / len(self.targets), "ndcg@20": ndcg / len(self.targets)}


def train(torch, world, method, epochs, rate, seed):
    torch.manual_seed(seed)
    users, items = (torch.nn.Embedding(n, DIM) for n in (world.n_users, world.n_items))
    for table in (users, items):
        torch.nn.init.normal_(table.weight, std=INIT)
    optimizer = torch.optim.Adam([users.weight, items.weight], lr=rate, weight_decay=DECAY)
    for epoch in range(epochs):
        for batch in torch.randperm(len(world.cases)).split(BATCH):
            optimizer.zero_grad()
            if method == "RD":
                loss = ranking_distillation(torch, world, users, items, world.cases[batch], epoch)
            else:
                loss = het_comp(torch, world, users, items, world.cases[batch, 0].unique(), method)
            loss.backward()
            optimizer.step()
    return users.weight.detach().numpy(), items.weight.detach().numpy()


def unlabelled(torch, world, users, n):
    """Random items that the users have not labelled, `n` for each."""
    drawn = torch.randint(world.n_items, (len(users), n))
    while (bad := world.labelled[users[:, None], drawn]).any():
        drawn[bad] = torch.randint(world.n_items, (int(bad.sum()),))
    return drawn


def ranking_distillation(torch, world, users, items, cases, epoch):
    softplus = torch.nn.functional.softplus
    user, positive = cases[:, 0], cases[:, 1]
    mine = users(user)

    def score(listed):
        return (mine[:, None, :] * items(listed)).sum(-1)

    negative = unlabelled(torch, world, user, 1)
    own = softplus(score(negative) - score(positive[:, None])).mean()
    k = RD["k"]
    listed = world.lists[user, :k]
    there = listed >= 0
    scores = score(listed.clamp(min=0))
    position = torch.softmax(-torch.arange(1, k + 1) / RD["lambda"], 0).expand(len(user), k)
    weights = position * there
    if epoch >= RD["warm_up"]:
        with torch.no_grad():
            sampled = score(unlabelled(torch, world, user, RD["epsilon"]))
            higher = (sampled[:, None, :] > scores[:, :, None]).sum(-1)
            population = world.n_items - world.labelled[user].sum(1, keepdim=True)
            rank = higher * (population - 1) // RD["epsilon"] + 1
            lower_by = (rank - torch.arange(1, k + 1)).clamp(min=0)
            weights = torch.tanh(RD["mu"] * lower_by) * position * there
            total = weights.sum(1, keepdim=True)
            weights = torch.where(total > 0, weights / total.clamp(min=1e-30), weights)
    taught = (weights * softplus(-scores)).sum(1).mean()
    return (1 - RD["alpha"]) * own + RD["alpha"] * taught


def het_comp(torch, world, users, items, user, method):
    scores = users(user) @ items.weight.T
    taught, own = world.lists[user], world.own[user]
    bottom = -1e9  # of what is not there: its exp is 0
    rest = scores.masked_fill(world.labelled[user], bottom)
    rest = rest.scatter(1, taught.clamp(min=0), torch.full_like(rest[:, :K], bottom))  # neither labelled nor taught
    rest = rest.logsumexp(1, keepdim=True)

    def of(listed):
        return scores.gather(1, listed.clamp(min=0)).masked_fill(listed < 0, bottom), listed >= 0

    def each(listed):
        found, there = of(listed)
        return (torch.logaddexp(found, rest) - found).masked_fill(~there, 0).sum()

    def ordered(listed, behind):
        found, there = of(listed)
        tail = found.flip(1).logcumsumexp(1).flip(1)
        return (torch.logaddexp(tail, behind) - found).masked_fill(~there, 0).sum()

    def after(n):
        found, _ = of(taught[:, n:])
        return torch.logaddexp(found.logsumexp(1, keepdim=True), rest)

    if method.endswith("overall"):
        return OVERALL * (each(own) + each(taught))
    half, tenth = after(K // 2), after(K // 10)
    halves = ordered(taught[:, : K // 2], half) + ordered(taught[:, : K // 10], tenth)
    return FINE * (ordered(own, half) + 0.5 * halves)


if __name__ == "__main__":
    main()
