# syntax=docker/dockerfile:1
#
# Sealgate with the quickstart. Not built by this project's tests, which have no container engine: if it does not
# build for you, that is a bug, please say so.
#
#   docker build -t sealgate .
#   docker run --rm --network host -v sealgate-data:/var/lib/sealgate sealgate
#
# The quickstart listens on loopback only and forwards to services on loopback: hence the host's network. With a
# configuration of your own, mount it and name it:
#
#   docker run --rm -p 8443:8443 -v sealgate-data:/var/lib/sealgate -v ./sealgate.yaml:/etc/sealgate/sealgate.yaml:ro \
#     sealgate run -c /etc/sealgate/sealgate.yaml
#
# The volume holds the key, the spool and the store. Without it the log would end with the container.

FROM rust:1.95-slim-bookworm AS build
# zlib-ng is built with cmake, and so are some of the C parts of TLS.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin sealgate --bin sealaudit \
 && install -D -t /out target/release/sealgate target/release/sealaudit

FROM debian:bookworm-slim
RUN groupadd --system --gid 65532 sealgate \
 && useradd --system --uid 65532 --gid sealgate --home-dir /var/lib/sealgate --shell /usr/sbin/nologin sealgate \
 && install -d -m 0750 -o sealgate -g sealgate /var/lib/sealgate
COPY --from=build /out/sealgate /out/sealaudit /usr/local/bin/
COPY conf/quickstart.yaml /etc/sealgate/quickstart.yaml
COPY LICENSE /usr/share/doc/sealgate/LICENSE

USER 65532:65532
WORKDIR /var/lib/sealgate
ENV SEALGATE_DATA=/var/lib/sealgate
VOLUME /var/lib/sealgate
# 8080: traffic; 9911: admin; 9912: metrics and probes.
EXPOSE 8080 9911 9912
# A clean stop drains, seals and ships: give it more than shutdown.timeout (docker stop --time 40).
STOPSIGNAL SIGTERM
ENTRYPOINT ["sealgate"]
CMD ["run", "-c", "/etc/sealgate/quickstart.yaml"]
