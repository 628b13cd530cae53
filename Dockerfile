# knetsim in a container, with etcd as the store:
#   docker build -t knetsim . && docker run --privileged -it knetsim
# Every step is a script of this repository that the tests run too.
FROM debian:bookworm AS build
COPY --from=rust:bookworm /usr/local/cargo /usr/local/cargo
COPY --from=rust:bookworm /usr/local/rustup /usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
WORKDIR /src
COPY scripts scripts
RUN scripts/packages.sh build
COPY . .
RUN cargo build --profile dist --locked -p knetsim

FROM debian:bookworm
COPY scripts /opt/knetsim/scripts
RUN /opt/knetsim/scripts/packages.sh run etcd pull tools \
    && /opt/knetsim/scripts/tools.sh --to /usr/local/bin kubectl helm \
    && rm -rf /var/lib/apt/lists/* /opt/knetsim/target
COPY --from=build /src/target/dist/knetsim /usr/local/bin/knetsim
COPY manifests /opt/knetsim/manifests
WORKDIR /opt/knetsim
# Overlays of a container's own overlay need a real file system below them.
VOLUME /var/lib/knetsim
ENV KNETSIM_DATA_DIR=/var/lib/knetsim
ENTRYPOINT ["/opt/knetsim/scripts/container-entrypoint.sh"]
