# Everything that must hold before a change lands.
check:
    ./scripts/check.sh

# Our kernels and the peers from PyPI, as ratios in one run.
bench:
    ./benches/run.sh

# The quickstart, from source.
quickstart:
    cargo run --release -- quickstart
