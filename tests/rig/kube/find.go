// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The variables of the environment that name the programs.
const (
	// APIServerVariable names a kube-apiserver; make test-cluster sets it.
	APIServerVariable = "HOLDFAST_KUBE_APISERVER"
	// EtcdVariable names an etcd; without it the one on the PATH is taken.
	EtcdVariable = "HOLDFAST_ETCD"
)

// startTimeout is how long a server may take until it is ready; it takes seconds where nothing else runs.
const startTimeout = 3 * time.Minute

// Find gives a configuration with the programs that the environment names. The error says what is missing.
func Find() (Config, error) {
	path := os.Getenv(APIServerVariable)
	if path == "" {
		return Config{}, errors.New(APIServerVariable + " names no kube-apiserver: make test-cluster builds one")
	}
	api, err := exec.LookPath(path)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", APIServerVariable, err)
	}
	name := os.Getenv(EtcdVariable)
	if name == "" {
		name = "etcd"
	}
	etcd, err := exec.LookPath(name)
	if err != nil {
		return Config{}, fmt.Errorf("etcd, which Debian's package etcd-server has, or %s names: %w", EtcdVariable, err)
	}
	return Config{APIServer: api, Etcd: etcd}, nil
}

// Run starts a server for a test, which fails if the environment names no kube-apiserver: such tests have the build tag
// cluster. The server ends with the test. Args are further flags of kube-apiserver.
func Run(t testing.TB, args ...string) *Server {
	t.Helper()
	cfg, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Args = t.TempDir(), args
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of kube-apiserver:\n%s", s.Log(40))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
