# syntax=docker/dockerfile:1
# The command line and its server in an image without a compiler:
#
#   docker build -t rankstill .
#   docker run --rm -p 8080:8080 -v "$PWD/model:/model:ro" rankstill serve /model --listen 0.0.0.0:8080
#
# Other features of the command line, such as events in PostgreSQL: --build-arg FEATURES=trees,postgres,otlp
FROM rust:1-slim-trixie AS build
ARG FEATURES=trees
WORKDIR /source
COPY Cargo.toml Cargo.lock README.md ./
COPY crates crates
# The cache keeps what cargo has downloaded and built from one build of the image to the next, so the program is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package rankstill-cli --features "$FEATURES" && cp target/release/rankstill /rankstill

FROM debian:trixie-slim
# A number, so that Kubernetes can see that it is not root (`runAsNonRoot`).
RUN useradd --uid 10001 --home-dir /data rankstill && install --directory --owner rankstill /data
COPY --from=build /rankstill /usr/local/bin/rankstill
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/rankstill/
USER 10001
# Logs, runs and the event store go here: mount a volume.
WORKDIR /data
EXPOSE 8080
# bash opens the connection, as the image has no curl. Other ports and addresses than 8080: set RANKSTILL_PORT. Over HTTPS, or for commands that
# are no server, start the container with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${RANKSTILL_PORT:-8080}\" && printf 'GET /health/ready HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["rankstill"]
CMD ["--help"]
