# syntax=docker/dockerfile:1
# SPDX-License-Identifier: Apache-2.0
#
# The collector's image, as make images writes it, for those who build with BuildKit:
#
#   docker build -f deploy/docker/collector.Dockerfile -t holdfast-collector .
#
# --platform linux/amd64,linux/arm64 compiles for both on this machine's own.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -tags=grpcnotrace -ldflags='-s -w' -o /image/ \
    ./collector/cmd/holdfast-collector ./collector/cmd/holdfast
RUN install -D -m 0644 -t /image/usr/share/doc/holdfast LICENSE \
 && install -D -m 0644 -t /image/usr/share/doc/holdfast/LICENSES LICENSES/BSD-2-Clause.txt LICENSES/GPL-2.0-only.txt \
 && install -d -m 1777 /image/tmp \
 && install -d -m 0700 /data/holdfast-collector

FROM scratch
COPY --from=build /image/ /
# The data folder belongs to the collector's user, and so does a volume that is made from it.
COPY --from=build --chown=65532:65532 /data/ /var/lib/
LABEL org.opencontainers.image.title="holdfast-collector" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/holdfast-project/holdfast"
ENV PATH=/
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/holdfast-collector"]
CMD ["serve", "--data-dir", "/var/lib/holdfast-collector"]
