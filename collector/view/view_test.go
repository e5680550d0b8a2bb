// SPDX-License-Identifier: Apache-2.0

package view_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/golden"
)

func origin() view.Origin {
	return view.Origin{
		ID: "record-7", Node: "node-1", Epoch: 1795000000000000001, Sequence: 7,
		Received: time.Date(2026, 11, 18, 12, 26, 41, 0, time.FixedZone("CET", 3600)),
	}
}

// encode writes v as the API does, indented for people who read the golden files.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestShapes holds every alert of testdata, and its event, against the JSON beside it.
func TestShapes(t *testing.T) {
	golden.Each(t, "testdata/*.txtpb", func(t *testing.T, file, text string) {
		var alert apiv1.Alert
		if err := prototext.Unmarshal([]byte(text), &alert); err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(file, ".txtpb")
		event := view.NewEvent(origin(), alert.GetEvent())
		golden.Compare(t, base+".alert.json", encode(t, view.NewAlert(origin(), &alert)))
		golden.Compare(t, base+".event.json", encode(t, event))
		golden.Compare(t, base+".summary.txt", []byte(event.Summary()+"\n"))
	})
}

// TestShapesReadBack makes sure that a program which reads the JSON into these types, as the CLI does, loses nothing.
func TestShapesReadBack(t *testing.T) {
	files, err := filepath.Glob("testdata/*.alert.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		decoder.DisallowUnknownFields()
		var alert view.Alert
		if err := decoder.Decode(&alert); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := encode(t, alert); !bytes.Equal(got, text) {
			t.Errorf("%s reads back as\n%s", file, got)
		}
	}
}

func TestPriorities(t *testing.T) {
	want := "Emergency Alert Critical Error Warning Notice Informational Debug"
	if got := strings.Join(view.PriorityNames(), " "); got != want {
		t.Errorf("names are %q, want Falco's %q", got, want)
	}
	for _, name := range append(view.PriorityNames(), "warning", "WARNING") {
		p, err := view.ParsePriority(name)
		if err != nil {
			t.Errorf("ParsePriority(%q): %v", name, err)
		}
		if !strings.EqualFold(view.PriorityName(p), name) {
			t.Errorf("ParsePriority(%q) = %v", name, p)
		}
	}
	if p, err := view.ParsePriority("info"); err != nil || p != apiv1.Priority_PRIORITY_INFORMATIONAL {
		t.Errorf("ParsePriority(info) = %v, %v", p, err)
	}
	for _, name := range []string{"", "unspecified", "high", "4"} {
		if p, err := view.ParsePriority(name); err == nil {
			t.Errorf("ParsePriority(%q) = %v, want an error", name, p)
		}
	}
}

func TestWorkload(t *testing.T) {
	for _, test := range []struct {
		workload view.Workload
		want     string
	}{
		{view.Workload{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}, "shop/web/app"},
		{view.Workload{Namespace: "shop", Name: "web"}, "shop/web"},
		{view.Workload{Kind: "Host", Name: "node-1"}, "host"},
		{view.Workload{Name: "db", Container: "db"}, "/db/db"},
		{view.Workload{}, ""},
	} {
		if got := test.workload.String(); got != test.want {
			t.Errorf("%+v is %q, want %q", test.workload, got, test.want)
		}
	}
}

func TestHealth(t *testing.T) {
	if view.NewHealth(nil) != nil {
		t.Error("a health that was never sent is shown")
	}
	health := view.NewHealth(&apiv1.Health{
		TimeNs: 1795000000000000000, StartNs: 1794990000000000000,
		Events: map[string]uint64{"exec": 10, "open": 32}, Losses: map[string]uint64{"ring_full": 3, "content_skipped_bytes": 4096, "kernel_ring_content_full": 2, "kernel_content_read": 1, "content_not_reset": 4},
		LagP50Ns: 1_000_000, LagP99Ns: 9_000_000, Containers: 3, Processes: 40, RssBytes: 50 << 20,
		Spools: []*apiv1.SpoolState{{Lane: apiv1.Lane_LANE_ALERTS, Records: 5, Bytes: 4096, Last: 12, Acked: 7, Epoch: 1}},
	})
	golden.Compare(t, "testdata/health.json", encode(t, health))
	if lost := (view.Node{Health: health}).CountLost(); lost != 3 {
		t.Errorf("%d events are lost, want 3: of what was not looked through none is", lost)
	}
	if health.Seen() != 42 || health.Spools[0].Pending() != 5 {
		t.Errorf("seen %d, pending %d", health.Seen(), health.Spools[0].Pending())
	}
	if seen := (*view.Health)(nil).Seen(); seen != 0 {
		t.Errorf("no health has seen %d", seen)
	}
	if pending := (view.Spool{Last: 1, Acked: 2}).Pending(); pending != 0 {
		t.Errorf("a spool acknowledged beyond its end has %d pending", pending)
	}
}

func TestLost(t *testing.T) {
	for _, test := range []struct {
		name                string
		losses, undelivered map[string]uint64
		want                uint64
	}{
		{"nothing", nil, nil, 0},
		{"no event lost", map[string]uint64{"kernel_user_read": 7, "container_unattributed": 1}, nil, 0},
		{"ring counted on both sides", map[string]uint64{"kernel_ring_bulk_full": 5, "ring_bulk_gap": 5}, nil, 5},
		{"ring counted later on one", map[string]uint64{"kernel_ring_urgent_full": 9, "ring_urgent_gap": 5, "ring_bulk_gap": 2}, nil, 11},
		{"cause that is not known", map[string]uint64{"gremlins": 3}, nil, 3},
		{"spool, known to both", map[string]uint64{"spool_records": 40}, map[string]uint64{"records/evicted": 40}, 40},
		{"spool, of an agent before", map[string]uint64{"spool_alerts": 1}, map[string]uint64{"alerts/gap": 2, "records/evicted": 4}, 6},
		{"all of it", map[string]uint64{"kernel_scratch_busy": 1, "ring_bulk_gap": 2, "spool_records": 3}, nil, 6},
	} {
		node := view.Node{Health: &view.Health{Losses: test.losses}, Undelivered: test.undelivered}
		if got := node.CountLost(); got != test.want {
			t.Errorf("%s: lost %d, want %d", test.name, got, test.want)
		}
	}
	if lost := (view.Node{Undelivered: map[string]uint64{"alerts/gap": 2}}).CountLost(); lost != 2 {
		t.Errorf("a node without health lost %d", lost)
	}
}

func TestCapabilitiesNeverTurnIgnoranceIntoYes(t *testing.T) {
	got := view.NewCapabilities([]*apiv1.Capability{
		{Signal: "exec", See: apiv1.Support_SUPPORT_YES, Block: apiv1.Support_SUPPORT_NO, Mechanism: "tp_btf", Reason: "no bpf in lsm="},
		{Signal: "open"},
		{Signal: "dns", See: apiv1.Support_SUPPORT_UNKNOWN, Block: apiv1.Support(99)},
	})
	golden.Compare(t, "testdata/capabilities.json", encode(t, got))
	if got := encode(t, view.NewCapabilities(nil)); string(got) != "[]\n" {
		t.Errorf("no capabilities are %s", got)
	}
}
