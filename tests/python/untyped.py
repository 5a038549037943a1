"""What a type checker refuses: every line is wrong."""

import rankstill as rk

rk.BprMf(dim="16")
rk.BprMf(dimm=16)
rk.BprMf(16)
rk.HetComp(transfer="slow")
rk.BprMf(train={"epoch": 3})
rk.ImplicitAls(dim=4).fit("log.csv")
rk.load("model").recommend(k="10")
