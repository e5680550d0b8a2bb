# syntax=docker/dockerfile:1
# SPDX-License-Identifier: Apache-2.0
#
# The agent's image, as make images writes it, for those who build with BuildKit:
#
#   docker build -f deploy/docker/agent.Dockerfile -t holdfast-agent .
#
# --platform linux/amd64,linux/arm64 compiles for both on this machine's own.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -tags=grpcnotrace -ldflags='-s -w' -o /image/ ./agent/cmd/holdfast-agent
RUN install -D -m 0644 -t /image/usr/share/doc/holdfast LICENSE \
 && install -D -m 0644 -t /image/usr/share/doc/holdfast/LICENSES LICENSES/BSD-2-Clause.txt LICENSES/GPL-2.0-only.txt \
 && install -d -m 0700 /image/var/lib/holdfast-agent

FROM scratch
COPY --from=build /image/ /
LABEL org.opencontainers.image.title="holdfast-agent" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/holdfast-project/holdfast"
ENV PATH=/
WORKDIR /
USER 0:0
ENTRYPOINT ["/holdfast-agent"]
CMD ["run"]
