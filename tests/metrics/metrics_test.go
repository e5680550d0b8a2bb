// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-project/holdfast/tests/metrics"
)

func TestRead(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want map[string]float64
	}{
		"series": {
			"# HELP up says.\n# TYPE up gauge\nup 1\nlost_total{cause=\"a b\",lane=\"x\"} 2.5e+06\nwait_bucket{le=\"+Inf\"} 3\n",
			map[string]float64{"up": 1, `lost_total{cause="a b",lane="x"}`: 2.5e6, `wait_bucket{le="+Inf"}`: 3},
		},
		"nothing":  {"# HELP up says.\n", nil},
		"no value": {"up\n", nil},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.text) }))
		got, err := metrics.Read(t.Context(), server.Client(), server.URL)
		server.Close()
		if (err == nil) != (test.want != nil) || !maps.Equal(got, test.want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, test.want)
		}
	}
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if got, err := metrics.Read(t.Context(), server.Client(), server.URL); err == nil {
		t.Errorf("what is not there: %v", got)
	}
}
