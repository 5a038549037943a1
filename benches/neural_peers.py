"""Times training steps of Mult-VAE, NeuMF, LightGCN, CML and SASRec in Rankstill and in PyTorch, in turn, and prints ratios.

    benches/setup.sh
    .venv/bin/python benches/neural_peers.py [--threads 2] [--rounds 3]

All on LightGCN's Gowalla split (29,858 users, 40,981 items, 810,128 interactions). PyTorch uses Adam over all parameters, like Rankstill's
`exact` mode; the `sparse` mode, in which rows outside the batch do not move, is printed too.
- Mult-VAE: 40,981 - 600 - 200 - 600 - 40,981, batches of 500 users, dropout 0.5, multinomial likelihood and KL divergence. PyTorch as in
  the authors' code: the batch as a dense matrix, nn.Linear, log_softmax.
- NeuMF: vectors of 64 and 64, layers 64, 32 and 16, batches of 1,024 interactions with four negatives each. PyTorch: nn.Embedding and
  nn.Linear on all pairs, binary cross-entropy with logits; its negatives come from one randint and are not checked against the history.
- LightGCN: 3 layers of 64, batches of 2,048 interactions with one negative each, BPR and the L2 penalty. PyTorch as in the authors'
  code: the normalised graph as one sparse tensor (by rows, the faster form), all layers of all nodes.
- CML: 64 dimensions, batches of 2,048 interactions with five negatives each, the weighted hinge, vectors projected into the unit ball.
- SASRec: d 64, two blocks, the last 50 items of a prefix, batches of 512 prefixes with one negative each, dropout 0.2. PyTorch: padded
  sequences, nn.LayerNorm, nn.Linear and scaled_dot_product_attention, the loss on the last position.

The figures are lower quartiles of single steps, the best of the rounds; the programs alternate. The data are in $RANKSTILL_DATA or
../shared/data.
"""

import time

from peers import Log, arguments, bench, best_of, figures, ratio, torch_on, use_threads


def main():
    args = arguments(__doc__).parse_args()
    use_threads(args.threads)

    command = [bench("rankstill-models", "neural"), "--bench", "--threads", str(args.threads)]
    best = best_of(args.rounds, lambda: figures(command), lambda: peers(args.threads))
    ratio("Mult-VAE step, PyTorch / ours", best, "torch_mult_vae_ms", "mult_vae_exact_ms", 3.5)
    ratio("NeuMF step, PyTorch / ours", best, "torch_neu_mf_ms", "neu_mf_exact_ms", 5)
    ratio("LightGCN step, PyTorch / ours", best, "torch_light_gcn_ms", "light_gcn_ms", 8)
    ratio("CML step, PyTorch / ours", best, "torch_cml_ms", "cml_exact_ms", 5)
    ratio("SASRec step, PyTorch / ours", best, "torch_sas_rec_ms", "sas_rec_exact_ms", 2)


def peers(threads):
    torch = torch_on(threads)
    if torch is None:
        return []
    log = Log("gowalla")
    users, items = (torch.from_numpy(column) for column in log.train)
    n_users, n_items = log.n_users, log.n_items
    return [
        ("torch_mult_vae_ms", step_of_vae(torch, users, items, n_users, n_items)),
        ("torch_neu_mf_ms", step_of_neu_mf(torch, users, items, n_users, n_items)),
        ("torch_light_gcn_ms", step_of_light_gcn(torch, users, items, n_users, n_items)),
        ("torch_cml_ms", step_of_cml(torch, users, items, n_users, n_items)),
        ("torch_sas_rec_ms", step_of_sas_rec(torch, users, items, n_items)),
    ]


def milliseconds(torch, model, loss_of, steps):
    """Lower quartile of the milliseconds of some steps, everything included."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    laps = []
    for step in range(steps + 2):
        begin = time.perf_counter()
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        laps.append(time.perf_counter() - begin)
    return 1e3 * sorted(laps[2:])[len(laps[2:]) // 4]


def step_of_vae(torch, users, items, n_users, n_items, hidden=600, latent=200, batch=500):
    nn, functional = torch.nn, torch.nn.functional

    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(
                [nn.Linear(*shape) for shape in [(n_items, hidden), (hidden, 2 * latent), (latent, hidden), (hidden, n_items)]]
            )

        def forward(self, x):
            h = functional.dropout(functional.normalize(x), 0.5)
            mu, log_variance = self.layers[1](torch.tanh(self.layers[0](h))).chunk(2, 1)
            z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
            scores = self.layers[3](torch.tanh(self.layers[2](z)))
            divergence = -0.5 * (1 + log_variance - mu**2 - log_variance.exp()).sum(1).mean()
            return divergence, -(functional.log_softmax(scores, 1) * x).sum(1).mean()

    model = Vae()
    order = torch.randperm(n_users)

    def loss(step):
        rows = order[step * batch : (step + 1) * batch]
        place = torch.full((n_users,), -1)
        place[rows] = torch.arange(batch)
        chosen = place[users] >= 0
        x = torch.zeros(batch, n_items)
        x[place[users[chosen]], items[chosen]] = 1.0
        divergence, likelihood = model(x)
        return likelihood + 0.2 * divergence

    return milliseconds(torch, model, loss, 8)


def step_of_neu_mf(torch, users, items, n_users, n_items, dim=64, batch=1024, negatives=4):
    nn = torch.nn

    class NeuMf(nn.Module):
        def __init__(self):
            super().__init__()
            self.users, self.items = nn.Embedding(n_users, 2 * dim), nn.Embedding(n_items, 2 * dim)
            layers = [layer for pair in [(2 * dim, 64), (64, 32), (32, 16)] for layer in (nn.Linear(*pair), nn.ReLU())]
            self.perceptron = nn.Sequential(*layers)
            self.last = nn.Linear(dim + 16, 1)
            for table in (self.users, self.items):
                nn.init.normal_(table.weight, std=0.01)

        def forward(self, users, items):
            (p, u), (q, v) = self.users(users).split(dim, 1), self.items(items).split(dim, 1)
            return self.last(torch.cat([p * q, self.perceptron(torch.cat([u, v], 1))], 1)).squeeze(1)

    model = NeuMf()
    order = torch.randperm(len(users))
    labels = torch.zeros(batch, 1 + negatives)
    labels[:, 0] = 1

    def loss(step):
        at = order[step * batch : (step + 1) * batch]
        asked = users[at].repeat_interleave(1 + negatives)
        listed = torch.cat([items[at].unsqueeze(1), torch.randint(n_items, (batch, negatives))], 1)
        scores = model(asked, listed.flatten())
        return nn.functional.binary_cross_entropy_with_logits(scores, labels.flatten(), reduction="sum") / batch

    return milliseconds(torch, model, loss, 60)


def step_of_light_gcn(torch, users, items, n_users, n_items, dim=64, layers=3, batch=2048, l2=1e-4):
    nodes = torch.nn.Embedding(n_users + n_items, dim)
    torch.nn.init.normal_(nodes.weight, std=0.1)
    ends = torch.stack([users, n_users + items])
    ends = torch.cat([ends, ends.flip(0)], 1)
    root = torch.bincount(ends[0], minlength=n_users + n_items).float().clamp(min=1).rsqrt()
    shape = (n_users + n_items, n_users + n_items)
    graph = torch.sparse_coo_tensor(ends, root[ends[0]] * root[ends[1]], shape).coalesce().to_sparse_csr()
    order = torch.randperm(len(users))

    def loss(step):
        at = order[step * batch : (step + 1) * batch]
        rows = [users[at], n_users + items[at], n_users + torch.randint(n_items, (batch,))]
        layer = mixed = nodes.weight
        for _ in range(layers):
            layer = graph @ layer
            mixed = mixed + layer
        user, liked, other = (mixed[row] / (layers + 1) for row in rows)
        penalty = sum(nodes(row).pow(2).sum() for row in rows) / 2 / batch
        return torch.nn.functional.softplus((user * (other - liked)).sum(1)).mean() + l2 * penalty

    return milliseconds(torch, nodes, loss, 8)


def step_of_cml(torch, users, items, n_users, n_items, dim=64, batch=2048, negatives=5, margin=1.0):
    nn = torch.nn

    class Points(nn.Module):
        def __init__(self):
            super().__init__()
            self.users, self.items = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
            for table in (self.users, self.items):
                nn.init.normal_(table.weight, std=0.1)

    model = Points()
    order = torch.randperm(len(users))

    def loss(step):
        with torch.no_grad():  # what the last step moved
            for table in (model.users, model.items):
                table.weight.div_(table.weight.norm(dim=1, keepdim=True).clamp(min=1.0))
        at = order[step * batch : (step + 1) * batch]
        user = model.users(users[at])
        near = (user - model.items(items[at])).pow(2).sum(1)
        far = (user.unsqueeze(1) - model.items(torch.randint(n_items, (batch, negatives)))).pow(2).sum(2)
        violating = (margin + near.unsqueeze(1) - far > 0).float().mean(1)
        weight = torch.log1p(violating * n_items).detach()
        return (weight * (margin + near - far.min(1).values).clamp(min=0)).mean()

    return milliseconds(torch, model, loss, 30)


def step_of_sas_rec(torch, users, items, n_items, dim=64, length=50, batch=512):
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.normals = nn.ModuleList([nn.LayerNorm(dim, eps=1e-8) for _ in range(2)])
            self.linears = nn.ModuleList([nn.Linear(dim, dim) for _ in range(5)])

        def forward(self, x, real):
            query, key, value, inner, outer = self.linears
            y = self.normals[0](x)
            mask = real.unsqueeze(1) & torch.ones(length, length, dtype=torch.bool).tril() | torch.eye(length, dtype=torch.bool)
            seen = functional.scaled_dot_product_attention(query(y), key(x), value(x), attn_mask=mask, dropout_p=0.2)
            z = self.normals[1](y + seen)
            hidden = functional.dropout(torch.relu(inner(z)), 0.2)
            return (z + functional.dropout(outer(hidden), 0.2)) * real.unsqueeze(2)

    class SasRec(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
            self.positions = nn.Embedding(length, dim)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.last = nn.LayerNorm(dim, eps=1e-8)

        def forward(self, sequences, listed):
            real = sequences != n_items
            x = functional.dropout(self.items(sequences) * dim**0.5 + self.positions.weight, 0.2) * real.unsqueeze(2)
            for block in self.blocks:
                x = block(x, real)
            return torch.bmm(self.items(listed), self.last(x[:, -1]).unsqueeze(2)).squeeze(2)

    model = SasRec()
    starts = {}
    for at, user in enumerate(users.tolist()):
        starts.setdefault(user, at)
    rows = torch.randperm(len(users))[: 40 * batch].tolist()
    rows = [at for at in rows if at > starts[int(users[at])]]
    sequences = torch.full((len(rows), length), n_items)
    for row, at in enumerate(rows):
        before = items[max(starts[int(users[at])], at - length) : at]
        sequences[row, length - len(before) :] = before
    targets = items[rows]

    def loss(step):
        part = slice(step * batch, (step + 1) * batch)
        listed = torch.stack([targets[part], torch.randint(n_items, (batch,))], 1)
        scores = model(sequences[part], listed)
        return (functional.softplus(-scores[:, 0]) + functional.softplus(scores[:, 1])).mean()

    return milliseconds(torch, model, loss, 25)


if __name__ == "__main__":
    main()
