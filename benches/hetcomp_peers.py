"""Times HetComp's student steps, which score a whole catalogue, in Rankstill and in PyTorch, in turn, and prints ratios.

    benches/setup.sh
    .venv/bin/python benches/hetcomp_peers.py [--threads 2] [--rounds 3] [--steps 8]

900 users and 25,181 items (a batch of HetComp's on CiteULike's catalogue), matrix factorisation of 6 and of 20 dimensions, 10 observed
and 100 taught items per user, Adam with weight decay 1e-5 on all parameters. PyTorch follows the equations, like the authors' code:
nn.Embedding, one matrix of all scores, clamped to +-40, torch.optim.Adam. Both losses: `overall` compares each listed item with all
unlisted ones; `fine` orders the observed items, half of the taught ones, and again the first ten of these. The figures are lower
quartiles of single steps, with lists drawn beforehand, for both; each is the best of the rounds, and the programs alternate.
"""

import time

from peers import arguments, bench, best_of, figures, ratio, torch_on, use_threads

USERS, ITEMS, HISTORY, OBSERVED, TAUGHT = 900, 25_181, 15, 10, 100


def main():
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    use_threads(args.threads)

    binary = bench("rankstill-models", "complement")
    best = best_of(args.rounds, lambda: ours(binary, args), lambda: peers(args))
    for dim, goal in ((6, 30), (20, 15)):
        for loss in ("overall", "fine"):
            what = f"student step, d {dim}, {loss}, PyTorch / ours"
            ratio(what, best, f"torch_d{dim}_{loss}_ms", f"against_d{dim}_{loss}_ms", goal)


def ours(binary, args):
    found = []
    for dim in (6, 20):
        command = [binary, "--bench", "--threads", str(args.threads), "--steps", str(5 * args.steps), "--dim", str(dim)]
        found += figures(command)
    return found


def peers(args):
    torch = torch_on(args.threads)
    if torch is None:
        return []
    lines = torch.stack([torch.randperm(ITEMS)[: HISTORY + TAUGHT] for _ in range(USERS)])
    history, observed, taught = lines[:, :HISTORY], lines[:, HISTORY - OBSERVED : HISTORY], lines[:, HISTORY:]
    mask = torch.zeros(USERS, ITEMS).scatter_(1, history, 1.0)
    return [
        (f"torch_d{dim}_{name}_ms", step(torch, dim, loss, (mask, observed, taught), args.steps))
        for dim in (6, 20)
        for name, loss in (("overall", overall), ("fine", fine))
    ]


def step(torch, dim, loss, batch, steps):
    """Lower quartile of the milliseconds of some steps, everything included."""
    nn = torch.nn
    users, items = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
    for table in (users, items):
        nn.init.normal_(table.weight, std=0.01)
    optimizer = torch.optim.Adam([users.weight, items.weight], lr=1e-3, weight_decay=1e-5)
    rows = torch.arange(USERS)
    laps = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        scores = torch.clamp(users(rows) @ items.weight.T, -40, 40)
        optimizer.zero_grad()
        loss(torch, scores, *batch).backward()
        optimizer.step()
        laps.append(time.perf_counter() - begin)
    return 1e3 * sorted(laps[2:])[len(laps[2:]) // 4]


def overall(torch, scores, mask, observed, taught):
    """Compares each listed item with all items that are neither observed nor taught."""
    unobserved = (scores.exp() * (1 - mask)).sum(1, keepdim=True)
    to_teach = scores.gather(1, taught)
    rest = torch.clamp(unobserved - to_teach.exp().sum(1, keepdim=True), min=1e-5)
    listed = torch.cat([scores.gather(1, observed), to_teach], 1)
    return 0.01 * -(listed - (listed.exp() + rest).log()).sum()


def fine(torch, scores, mask, observed, taught):
    """Orders the observed items, half of the taught ones, and again the first ten of these."""
    unobserved = (scores.exp() * (1 - mask)).sum(1, keepdim=True)

    def ordered(listed, rest):
        behind = listed.exp().flip(1).cumsum(1).flip(1)
        return -(listed - (behind + rest).log()).sum()

    def first(n):
        listed = scores.gather(1, taught[:, :n])
        return listed, torch.clamp(unobserved - listed.exp().sum(1, keepdim=True), min=1e-5)

    (half, behind_half), (tenth, behind_tenth) = first(TAUGHT // 2), first(TAUGHT // 10)
    own = ordered(scores.gather(1, observed), behind_half)
    return 0.005 * (own + 0.5 * (ordered(half, behind_half) + ordered(tenth, behind_tenth)))


if __name__ == "__main__":
    main()
