# SPDX-License-Identifier: Apache-2.0

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# sudo drops the usual places of Go from PATH.
export PATH := $(PATH):/usr/local/go/bin:/usr/lib/go/bin

# Generated code is byte-identical only from these two.
CLANG     := clang-19
CLANG_IS  := 19.1.7
PROTOC_IS := 3.21.12

FUZZTIME ?= 20s
ARGS     ?=
ARCHES   ?= amd64 arm64
TAG      ?=

# Agent, collector and CLI: no cgo, no build paths, the version from the commit
# where git can tell it. Without grpc's own traces, which are off, and whose pages of HTML would have the linker keep every
# method that there is.
VCS      := $(if $(shell git rev-parse --verify -q HEAD 2>/dev/null),auto,false)
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -tags=grpcnotrace -ldflags='-s -w'

PROGRAMS := ./agent/cmd/holdfast-agent ./collector/cmd/holdfast-collector ./collector/cmd/holdfast

DIRS    := $(wildcard agent collector deploy rules tests)
PRODUCT := $(patsubst %,./%/...,$(wildcard agent collector rules))

# Boots the kernels and runs the packages whose tests need them.
LOADER := /lib64/ld-linux-x86-64.so.2
VMTEST := go run ./tests/kernel/cmd/vmtest --quiet --build 386/./tests/kernel/guest/ia32:/bin/ia32 \
	--file $(LOADER):$(LOADER) --file docs/effects.md:/src/docs/effects.md \
	--pkg ./tests/kernel/guest --pkg ./agent/probe --pkg ./agent/enforce --pkg ./agent/sensor --pkg ./tests/effect

# Each start of an agent takes many seconds in a machine: what restarts it again
# and again runs there with make test-kernel only, which also has each kernel
# both with and without bpf in the LSM list. Natively, make test runs all.
MACHINE_TESTS := ^Test(Machine|FileSystems|Isolation|Tracepoint|ExecVerdict|LSM|RunFinds|Unsupported|Apply|Restart|Egress|Events|Texts)|^TestNetwork(Block|Deed|Existing|FlowsFull|WithoutHooks)?$$
EFFECT_TESTS  := ^Test(Effects|Page)

# What one goroutine does alone, and kernel programs that are loaded once more, have no races: these only take long.
NO_RACES := ^Test(NetworkWithoutHooks|TLSLibraries|Egress|Bombs|NestedBombs|EndlessStreams|DecodersAtRandom|Limits)$$|^TestStore$$/^(removed|overlays|observed_profiles_are)

.PHONY: help build programs images deb toolchain generate manifests fmt check test demo test-kernel test-nri test-cluster bench fuzz clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

build: ## Build holdfast-agent, holdfast-collector and holdfast into bin/
	$(GO_BUILD) -o bin/ $(PROGRAMS)

programs: ## Build the programs for each of ARCHES (amd64 arm64) into bin/linux-ARCH
	@for arch in $(ARCHES); do GOOS=linux GOARCH=$$arch $(GO_BUILD) -o bin/linux-$$arch/ $(PROGRAMS); done

images: programs ## Container images of ARCHES into bin/images, without a daemon or a registry; TAG= names them
	go run ./deploy/images --tag '$(TAG)' $(addprefix bin/linux-,$(ARCHES))

deb: build programs ## Debian packages of ARCHES into bin/deb, for hosts without Kubernetes
	go run ./deploy/deb $(addprefix bin/linux-,$(ARCHES))

toolchain: ## Check that the pinned clang and protoc are here
	@have=$$($(CLANG) --version 2>/dev/null | sed -nE '1s/.*version ([0-9.]+).*/\1/p' || true); \
	if [ "$$have" != "$(CLANG_IS)" ]; then \
		echo "needs clang $(CLANG_IS), found $${have:-none}: install Debian's clang-19 and llvm-19" >&2; exit 1; \
	fi
	@have=$$(protoc --version 2>/dev/null | sed -nE 's/^libprotoc //p' || true); \
	if [ "$$have" != "$(PROTOC_IS)" ]; then \
		echo "needs protoc $(PROTOC_IS), found $${have:-none}: install Debian's protobuf-compiler" >&2; exit 1; \
	fi

generate: toolchain ## Compile bpf/ with the pinned clang, generate Go from it and from the protobuf files
	@go build -o bin/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$$PWD/bin/tools:$$PATH" go generate ./...

manifests: ## Write deploy/manifests, and what tests and docs have of the chart, from deploy/helm/holdfast
	go -C tests/chart run ./cmd/manifests
	go -C tests/chart test -count=1 . -rewrite

fmt: ## Format Go and C
	gofmt -w $(DIRS)
	find bpf -name '*.[ch]' -print0 | xargs -0r clang-format-19 -i

check: ## Format, vet, lint, and the rules of tests/arch; regenerates a copy and compares
	@.ci/prepare generate
	@$(MAKE) --no-print-directory toolchain
	@bad=$$(gofmt -l $(DIRS)); [ -z "$$bad" ] || { echo "gofmt would change:" $$bad >&2; exit 1; }
	@find bpf -name '*.[ch]' -print0 | xargs -0r clang-format-19 --dry-run -Werror
	go mod tidy -diff
	go vet -tags cluster ./...
	go -C tests/chart mod tidy -diff
	go -C tests/chart vet ./...
	go tool -modfile=.ci/lint.mod staticcheck -tags cluster ./...
	go test ./tests/arch

test: ## Install what is missing, then check, unit, race, end-to-end and kernel tests (root)
	@.ci/prepare generate race lab servers kernel packages
	@$(MAKE) --no-print-directory check build
	go run ./tests/tally \
		"unit: $(PRODUCT) ./deploy/... ./tests/arch ./tests/metrics ./tests/tally ./tests/wait" \
		"race: -race -short -skip $(NO_RACES) $(PRODUCT)" \
		"chart: -C tests/chart ./..." \
		"containers: -p 1 -timeout 20m ./tests/lab/... ./tests/install" \
		"end to end: -v -p 1 -timeout 30m ./tests/e2e/..." \
		"machines: -p 1 ./tests/kernel/..." \
		"effects: -v ./tests/effect" \
		"LSM! $(VMTEST) --timeout 25m --kernels 6.1,6.12 --lsm bpf --run $(MACHINE_TESTS)|$(EFFECT_TESTS)" \
		"no LSM! $(VMTEST) --timeout 25m --kernels 5.10,7 --lsm nobpf --run $(MACHINE_TESTS)"

test-kernel: ## Boot 5.10, 6.1, 6.12 and 7.x and run the sensor tests on each (root); ARGS='--kernels 6.12'
	@.ci/prepare kernel
	$(VMTEST) --timeout 30m $(ARGS)

test-nri: ## Build a containerd with NRI, once, and test verdicts before a container's first program on it (root)
	@.ci/prepare lab
	go test -count=1 -v -timeout 30m ./tests/nri -build $(ARGS)

# Its module follows the product's go.mod, hence -mod=mod. Tests of the product's packages
# that need no more than an API server (build tag cluster) are given the same one.
test-cluster: ## Build Kubernetes, once (15 minutes), bring up a cluster and test in it (root); ARGS='-run Owners'
	@.ci/prepare lab cluster
	go -C tests/cluster run -mod=mod ./cmd/cluster build
	go -C tests/cluster test -mod=mod -count=1 -v -p 1 -timeout 40m ./... $(ARGS)
	@HOLDFAST_KUBE_APISERVER="$$(go -C tests/cluster run -mod=mod ./cmd/cluster path kube-apiserver)"; \
	export HOLDFAST_KUBE_APISERVER; packages=$$(grep -rl --include='*_test.go' --exclude-dir=cluster '/tests/rig/kube"' $(DIRS) | xargs -r -n 1 dirname | sort -u | sed 's,^,./,'); \
	[ -z "$$packages" ] || { echo go test -tags cluster $$packages; go test -tags cluster -count=1 -p 1 -timeout 20m $$packages $(ARGS); }

demo: ## Show the main job on real containers (root); ARGS=--keep leaves it running
	@.ci/prepare lab
	@$(MAKE) --no-print-directory build
	$(GO_BUILD) -o bin/demo/ ./tests/demo/webshop ./tests/demo/render ./tests/attacks/deeds
	go run ./tests/demo $(ARGS)

bench: ## Count the instructions that the programs add (root), run the comparisons of tests/bench and every benchmark
	@.ci/prepare kernel lab servers
	go run ./tests/kernel/cmd/vmtest --count --kernels 6.12 --lsm bpf --pkg ./tests/bench/cost
	go test -run '^$$' -bench . -benchmem -benchtime 1x -v ./tests/bench
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m -v ./tests/bench/web
	go test -run '^$$' -bench . -benchmem $(PRODUCT)

fuzz: ## Run every fuzz target for FUZZTIME (20s)
	@grep -rlE '^func Fuzz' --include='*_test.go' $(DIRS) | sort | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "$$(dirname "$$file") $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
		done; \
	done

clean: ## Remove what the targets above built
	rm -rf bin
