// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// TestChartWritesFilesAsTheyAreRead takes the files that the Helm chart mounts, from a golden file of its tests.
func TestChartWritesFilesAsTheyAreRead(t *testing.T) {
	text, err := os.ReadFile("../tests/chart/testdata/golden/files.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
		}
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Kind == "ConfigMap" && object.Metadata.Name == "holdfast-agent" {
			files = object.Data
		}
	}
	path := filepath.Join(t.TempDir(), "labels.yaml")
	if err := os.WriteFile(path, []byte(files["dlp-labels.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	labels, err := readLabels(path)
	if err != nil {
		t.Fatal(err)
	}
	if label, _ := labels.Of("/data/customers.csv"); label != "customers" || len(labels.Exceptions()) != 1 {
		t.Errorf("label %q, exceptions %v", label, labels.Exceptions())
	}
	rules, err := crs.Parse("waf-crs-file.yaml", []byte(files["waf-crs-file.yaml"]))
	if err != nil || rules.Paranoia != 2 || rules.Threshold != 7 || len(rules.Exclusions) != 2 {
		t.Errorf("%+v: %v", rules, err)
	}
}
