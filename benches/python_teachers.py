"""What it costs to hand over a teacher of another package, by each of the ways: the students must be equally good.

    pip install . && pip install polars numpy scipy implicit torch      (without implicit or torch its part is skipped)
    python benches/python_teachers.py [gowalla ml-100k] [--threads 2]

gowalla: ALS of `implicit` with 64 factors. ml-100k: an autoencoder of PyTorch with 256 hidden numbers, whose scores are products of these
and the last layer's rows. Each is handed over as vectors (`from_vectors`), as a function that scores (`from_scores`), and as lists of its
best 50 items (`from_rankings`), and teaches a matrix factorisation of 16 dimensions from the same seed, with the settings of
`rankstill compress`.

"made": what is done before `distil`, such as computing the lists. "read": from the call of `distil` to the first step of training. Then the
training, and the quality on the test part. The data are in $RANKSTILL_DATA or ../shared/data.
"""

import time

from peers import DATA, arguments, torch_on, use_threads

METRICS = ["ndcg@10", "recall@20"]
K = 50


def main():
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("logs", nargs="*", default=["gowalla", "ml-100k"], help="gowalla, ml-100k")
    args = parser.parse_args()
    use_threads(args.threads)
    for name in args.logs:
        {"gowalla": gowalla, "ml-100k": movielens}[name](args)


def gowalla(args):
    import numpy as np
    import rankstill as rk
    from threadpoolctl import threadpool_limits

    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        print("implicit is skipped:", error)
        return
    data = rk.Dataset(DATA / "gowalla" / "train.tsv", test=DATA / "gowalla" / "test.tsv")
    seen = matrix(data)
    settings = {"factors": 64, "alpha": 41.0, "regularization": 40.0, "iterations": 15, "random_state": 1}
    begin = time.perf_counter()
    with threadpool_limits(1, "blas"):  # as it asks for: it has threads of its own
        net = AlternatingLeastSquares(**settings, num_threads=args.threads)
        net.fit(seen, show_progress=False)
    fitted = time.perf_counter() - begin
    users, items = np.asarray(net.user_factors), np.asarray(net.item_factors)

    def lists():
        with threadpool_limits(1, "blas"):
            return net.recommend(np.arange(data.n_users), seen, N=K)[0]

    compare("gowalla, ALS of implicit", data, fitted, lambda: (users, items), lambda batch: users[batch.numbers] @ items.T, lists)


def movielens(args):
    import rankstill as rk

    torch = torch_on(args.threads)
    if not torch:
        return
    data = rk.Dataset(DATA / "ml-100k" / "ml-100k.inter")
    seen = torch.from_numpy(matrix(data).toarray())
    histories = torch.nn.functional.normalize(seen)
    begin = time.perf_counter()
    net = autoencoder(torch, histories, seen)
    fitted = time.perf_counter() - begin
    encode, decode = net[:-1], net[-1]

    @torch.no_grad()
    def vectors():
        hidden = encode(histories)
        biased = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)
        return biased.numpy(), torch.cat([decode.weight, decode.bias[:, None]], dim=1).numpy()

    @torch.no_grad()
    def score(batch):
        return net(histories[batch.numbers])

    @torch.no_grad()
    def lists():
        return net(histories).masked_fill(seen > 0, -torch.inf).topk(K, dim=1).indices.numpy()

    compare("ml-100k, an autoencoder of PyTorch", data, fitted, vectors, score, lists)


def autoencoder(torch, histories, seen, epochs=60):
    """A denoising autoencoder with a softmax over all items (Mult-DAE, Liang et al., WWW 2018)."""
    nn, n_items = torch.nn, seen.shape[1]
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(n_items, 256), nn.Tanh(), nn.Linear(256, n_items))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)
    for _ in range(epochs):
        for users in torch.randperm(len(seen)).split(100):
            loss = -(net(histories[users]).log_softmax(1) * seen[users]).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def matrix(data):
    """The training part, users x items."""
    import numpy as np
    import scipy.sparse

    rows = data.table("train", numbers=True).to_numpy()
    ones = np.ones(len(rows["user_id"]), np.float32)
    return scipy.sparse.csr_matrix((ones, (rows["user_id"], rows["item_id"])), shape=(data.n_users, data.n_items))


def compare(title, data, fitted, vectors, score, lists):
    """Teaches a student by each way. `vectors`, `score` and `lists` are the teacher, as arrays, a function of a batch, and item numbers."""
    import numpy as np
    import polars as pl
    import rankstill as rk

    users, items = np.array(data.users), np.array(data.items)

    def from_vectors():
        of_users, of_items = vectors()
        return rk.Teacher.from_vectors(users=of_users, items=of_items)

    def from_rankings():
        best = lists()
        columns = {"user_id": np.repeat(users, K), "item_id": items[best].ravel(), "rank": np.tile(np.arange(1, K + 1), len(users))}
        return rk.Teacher.from_rankings(pl.DataFrame(columns))

    ways = {"from_vectors": from_vectors, "from_scores": lambda: rk.Teacher.from_scores(score), "from_rankings": from_rankings}
    student, method = settings(data)
    rankers, times = {}, {}
    for way, make in ways.items():
        marks = [time.perf_counter()]
        teacher = make()
        marks.append(time.perf_counter())
        training = []

        def note(share, text, training=training):
            if not training and not text.startswith("top lists"):
                training.append(time.perf_counter())

        rankers[way] = student.distil(data, teacher, method=method, progress=note)
        marks += [training[0], time.perf_counter()]
        times[way] = np.diff(marks)
        if way == "from_vectors":
            rankers = {"the teacher": teacher, **rankers}
    begin = time.perf_counter()
    rankers["the student alone"] = student.replace(optimizer=adam(student.dim, 8)).fit(data)
    times["the student alone"] = [0.0, 0.0, time.perf_counter() - begin]
    report = rk.evaluate(rankers, data, METRICS)
    print(f"\n{title}: {data!r}; the teacher was fitted in {fitted:.1f} s")
    print(f"{'':18} {'made':>7} {'read':>7} {'training':>9}" + "".join(f" {metric:>10}" for metric in METRICS))
    for name in rankers:
        seconds = times.get(name, [fitted])
        spent = f"{seconds[0]:7.2f} {seconds[1]:7.2f} {seconds[2]:9.2f}" if len(seconds) == 3 else f"{'':7} {'':7} {seconds[0]:9.2f}"
        print(f"{name:18} {spent}" + "".join(f" {report.value(name, metric):10.4f}" for metric in METRICS))
    for metric in METRICS:
        values = [report.value(way, metric) for way in ways]
        print(f"{metric}: the students differ by at most {max(values) / min(values) - 1:.2%}")


def settings(data):
    """A student and its method as `rankstill compress` sets them (docs/defaults.md): some 130 visits of each user, an estimated rest of the
    softmax from 10,000 items on."""
    import rankstill as rk

    epochs = min(20, max(6, -(-130 * data.n_users // data.table("train").n_rows)))
    train = {"epochs": epochs + epochs % 2, "batch_size": 1024, "validate_every": 2, "patience": 10}
    student = rk.BprMf(dim=16, start="als", optimizer=adam(16), final_rate=0.03, train=train)
    rest = {"estimated": {"top": 100, "sample": 1000}} if data.n_items >= 10_000 else "exact"
    return student, rk.Rrd(mode="direct", k=K, lambda_=1.0, rest=rest)


def adam(dim, slower=1):
    """Without lists the same student bears an eighth of the rate."""
    return {"kind": "adam", "learning_rate": 0.12 / dim**0.5 / slower, "weight_decay": 1e-5}


if __name__ == "__main__":
    main()
