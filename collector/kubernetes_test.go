// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package collector_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/holdfast-project/holdfast/collector"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/kube"
	rig "github.com/holdfast-project/holdfast/tests/rig/kube"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestKubernetes runs a whole collector that is told of an API server by a kubeconfig: the definitions come after it has
// started, an object becomes a mode, and the certificate of its authority is published where nothing made the ConfigMap.
func TestKubernetes(t *testing.T) {
	server := rig.Run(t)
	path, err := server.Kubeconfig(server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, body string) (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL()+path, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", "application/yaml")
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode >= http.StatusBadRequest {
			err = fmt.Errorf("%s: %s", response.Status, text)
		}
		return string(text), err
	}
	eventually := func(what string, is func() error) {
		t.Helper()
		wait.Until(t, 5*time.Minute, func() error {
			if err := is(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	c := collectortest.Start(t, collector.Config{Kubernetes: kube.On, Kubeconfig: path})
	eventually("the authority's certificate is published", func() error {
		text, err := send(http.MethodGet, "/api/v1/namespaces/default/configmaps/holdfast-ca", "")
		if pem := strings.ReplaceAll(string(bytes.TrimSpace(c.Authority().PEM())), "\n", `\n`); err == nil && !strings.Contains(text, pem) {
			err = fmt.Errorf("the ConfigMap is %s", text)
		}
		return err
	})
	eventually("the lack of definitions is told", func() error {
		if !strings.Contains(c.Log.String(), "custom resource definitions") {
			return fmt.Errorf("log is %s", c.Log)
		}
		return nil
	})
	files, err := filepath.Glob("../deploy/helm/holdfast/crds/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("definitions %v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := send(http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", string(text)); err != nil {
			t.Fatal(err)
		}
	}
	const policies = "/apis/holdfast.dev/v1alpha1/namespaces/default/holdfastpolicies"
	eventually("a policy is taken", func() error {
		_, err := send(http.MethodPost, policies, "{apiVersion: holdfast.dev/v1alpha1, kind: HoldfastPolicy, metadata: {name: p}, spec: {modes: {protect: enforce}}}")
		return err
	})
	modes := func(want int) func() error {
		return func() error {
			all, _, err := c.Fleet().Modes(t.Context())
			if err == nil && (len(all) != want || want == 1 && (all[0].Workload != "default" || all[0].Mode != "enforce")) {
				err = fmt.Errorf("modes are %+v", all)
			}
			return err
		}
	}
	eventually("the policy is in force", modes(1))
	if _, err := send(http.MethodDelete, policies+"/p", ""); err != nil {
		t.Fatal(err)
	}
	eventually("nothing of the policy is left", modes(0))
}
