"""Times BPR-MF training on Gowalla (64 dimensions) in Rankstill, implicit and PyTorch, in turn, and prints the ratios.

    benches/setup.sh
    .venv/bin/python benches/bpr_peers.py [--threads 2] [--rounds 3] [--epochs 20] [--rate 0.05] [--decay 0.01]

- SGD epochs: implicit's BayesianPersonalizedRanking with the same learning rate and penalty (63 factors and an item bias), one
  verified negative per pair; Recall@20 of both after the same number of epochs, over all items, training items excluded.
- Adam steps of 2,048 samples with everything that a step needs: negatives, gradients, update. Plain PyTorch: nn.Embedding, mean of
  -logsigmoid, and either SparseAdam on sparse gradients or Adam on dense ones. Rankstill's `sparse` mode is equivalent to the first,
  its `exact` mode to the second. PyTorch's negatives come from one randint per step and are not checked against the history, which is
  cheaper than what Rankstill does.

Every figure is the best of the rounds; the programs alternate. The data are in $RANKSTILL_DATA/gowalla or ../shared/data/gowalla.
"""

import time

from peers import Log, arguments, bench, best_of, figures, ratio, torch_on, use_threads

DIM, BATCH = 64, 2048


def main():
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--decay", type=float, default=0.01)
    args = parser.parse_args()
    use_threads(args.threads)

    command = [bench("rankstill-models", "bpr_mf"), "--bench"]
    for name in ("threads", "epochs", "rate", "decay"):
        command += [f"--{name}", str(getattr(args, name))]
    log = Log("gowalla")
    best = best_of(
        args.rounds, lambda: figures(command), lambda: implicit_epochs(log, args), lambda: torch_steps(log, args.threads)
    )
    ratio("SGD epoch, implicit / ours", best, "implicit_epoch_seconds", "sgd_best_epoch_seconds", 4)
    ratio("Adam step, SparseAdam / ours sparse", best, "torch_sparse_adam_ms", "adam_sparse_ms_per_step", 5)
    ratio("Adam step, default Adam / ours exact", best, "torch_adam_ms", "adam_exact_ms_per_step", 10)
    if "implicit_recall" in best:
        print(f"Recall@20 after {args.epochs} epochs: ours {best['sgd_recall']:.4f}, implicit {best['implicit_recall']:.4f}")


def implicit_epochs(log, args):
    try:
        from implicit.bpr import BayesianPersonalizedRanking
    except ImportError as error:
        print("implicit is skipped:", error)
        return []
    model = BayesianPersonalizedRanking(
        factors=DIM - 1,
        learning_rate=args.rate,
        regularization=args.decay,
        iterations=args.epochs,
        num_threads=args.threads,
        verify_negative_samples=True,
        random_state=1,
    )
    times = []
    begin = time.perf_counter()

    def note(*_):
        times.append(time.perf_counter())

    model.fit(log.matrix(), show_progress=False, callback=note)
    laps = [later - earlier for earlier, later in zip(times, times[1:])]
    laps = laps or [(time.perf_counter() - begin) / args.epochs]
    return [("implicit_epoch_seconds", min(laps)), ("implicit_recall", log.recall(model))]


def torch_steps(log, threads, steps=25):
    torch = torch_on(threads)
    if torch is None:
        return []
    users, items = (torch.from_numpy(column) for column in log.train)
    n_users, n_items = log.n_users, log.n_items

    def milliseconds(sparse):
        user_table = torch.nn.Embedding(n_users, DIM, sparse=sparse)
        item_table = torch.nn.Embedding(n_items, DIM, sparse=sparse)
        for table in (user_table, item_table):
            torch.nn.init.normal_(table.weight, std=0.1)
        parameters = [user_table.weight, item_table.weight]
        optimizer = torch.optim.SparseAdam(parameters, lr=2e-3) if sparse else torch.optim.Adam(parameters, lr=2e-3, weight_decay=3e-5)
        order = torch.randperm(len(users))
        laps = []
        for step in range(steps):
            begin = time.perf_counter()
            rows = order[step * BATCH : (step + 1) * BATCH]
            u, i = users[rows], items[rows]
            j = torch.randint(n_items, (len(rows),))
            vectors = user_table(u)
            margin = (vectors * (item_table(i) - item_table(j))).sum(1)
            loss = -torch.nn.functional.logsigmoid(margin).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            laps.append(time.perf_counter() - begin)
        return 1e3 * sorted(laps[5:])[len(laps[5:]) // 4]

    return [("torch_sparse_adam_ms", milliseconds(True)), ("torch_adam_ms", milliseconds(False))]


if __name__ == "__main__":
    main()
