// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// object is what the API server would hold of a spec: what went through its JSON.
func object(t *testing.T, key profile.Key, spec v1alpha1.ProfileSpec) *v1alpha1.HoldfastProfile {
	t.Helper()
	text, err := json.Marshal(v1alpha1.HoldfastProfile{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	var o v1alpha1.HoldfastProfile
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return &o
}

// roundTrip checks that a profile is the same after it was an object.
func roundTrip(t *testing.T, p *profile.Profile) {
	t.Helper()
	spec, err := v1alpha1.SpecOf(p)
	if err != nil {
		t.Fatalf("%v\n%s", err, profile.Encode(p))
	}
	again, err := object(t, p.Key, spec).Profile()
	if err != nil {
		t.Fatalf("%v\n%s", err, profile.Encode(p))
	}
	if got, want := string(profile.Encode(again)), string(profile.Encode(p)); got != want {
		t.Errorf("a profile became\n%s\nafter\n%s", got, want)
	}
}

// FuzzRoundTrip makes objects of every profile that the file format takes, and profiles of those again.
func FuzzRoundTrip(f *testing.F) {
	files, err := filepath.Glob("../../cli/testdata/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no profile to begin with: %v", err)
	}
	for _, file := range append(files, "../../cli/testdata/profiles-two.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add(profile.Encode(everything()))
	f.Fuzz(func(t *testing.T, text []byte) {
		documents, err := profile.Decode("fuzz", text)
		if err != nil {
			t.Skip()
		}
		for _, d := range documents {
			if spec, err := v1alpha1.SpecOf(d.Profile); err != nil || len(spec.Processes) != len(d.Profile.Processes) {
				continue // It does not fit, which TestLimits is about.
			}
			roundTrip(t, d.Profile)
		}
	})
}

// everything is a profile with an entry of each kind and form.
func everything() *profile.Profile {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	seen := func(origin profile.Origin) profile.Provenance {
		p := profile.Provenance{Origin: origin, First: at, Last: at.Add(time.Hour), Count: 7, Replicas: map[string]uint32{"node-a": 2, "1": 1}}
		if origin == profile.Candidate {
			p.Suspect = profile.BySession
		}
		return p
	}
	by := profile.Provenance{Origin: profile.Written, Author: "ann: [x]", Reason: "it is 'so', \"really\" <&> ü"}
	gone := profile.Provenance{Origin: profile.Removed, Author: "ann"}
	p := &profile.Profile{
		Key:    profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "no"},
		Images: []profile.Image{{Digest: "sha256:1", Reference: "registry.example/web:2", FirstSeen: at}, {Digest: "123"}},
		Signals: map[profile.Signal]profile.Learning{
			profile.SignalProcess: {State: profile.StateStable, Observed: 10, Once: 2, Replicas: 3, Since: at, New: at, Lost: at,
				Nodes: map[string]profile.Observation{"node-a": {Observed: 10, Once: 2, Replicas: 3}, "true": {}}},
			profile.SignalEgress: {State: profile.StateLearning},
		},
		Processes: []profile.Process{
			{
				Path: "/usr/sbin/nginx", Seen: seen(profile.Learned), Sources: []profile.Source{profile.FromImage, profile.FromUpper},
				Parents:   []profile.Parent{{Path: profile.Runtime, Seen: seen(profile.Learned)}, {Path: profile.Any, Seen: by}},
				Arguments: []profile.Argument{{Shape: profile.ShapeArguments([]byte("nginx\x00-g\x00daemon off;\x00")), Seen: by}, {Seen: gone}},
				Libraries: []profile.Library{{Path: "/opt/ü\xff*<n>.so", Seen: by}},
				Files: []profile.File{
					{Path: "/var/cache/<n>/*", Access: profile.Read | profile.Write | profile.Create | profile.Delete, Seen: seen(profile.Probe)},
					{Path: "/true", Access: profile.Read, Seen: gone},
				},
				Egress: []profile.Egress{
					{Name: "*.cdn.example.com", Protocol: "tcp", Port: 443, Seen: by}, {Service: "shop/db", Protocol: "any", Seen: by},
					{Workload: "shop/Deployment/db", Protocol: "47", Seen: by}, {CIDR: "fd00::/8", Protocol: "udp", Seen: gone},
				},
				Listen:       []profile.Port{{Protocol: "tcp", Port: 8080, Seen: by}, {Protocol: "udp", Seen: by}},
				Sockets:      []profile.Socket{{Family: "netlink", Kind: "raw", Seen: by}},
				Capabilities: []profile.Capability{{Name: "net_raw", Seen: by}},
			},
			{Path: "/usr/sbin/nginx", Seen: seen(profile.Candidate)},
			{Path: "/bin/sh", AnyArguments: true, Seen: seen(profile.Inherited)},
			{Path: "/bin/false", Sources: []profile.Source{profile.FromMemory}, Seen: gone},
			{Path: "/bin/context", Files: []profile.File{{Path: "/a", Access: profile.Read, Seen: gone}}, Seen: profile.Provenance{Origin: profile.Context}},
			{Path: profile.Any, Seen: profile.Provenance{Origin: profile.Written}, Egress: []profile.Egress{{CIDR: "169.254.169.254/32", Protocol: "tcp", Port: 80, Seen: gone}}},
		},
	}
	p.Normalise()
	return p
}

// TestRoundTrip makes objects of profiles with everything in them, and of many made at random of parts of that.
func TestRoundTrip(t *testing.T) {
	whole := everything()
	if err := whole.Validate(); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, whole)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, seed))
		part := everything()
		part.Images = some(r, part.Images)
		part.Processes = some(r, part.Processes)
		for i := range part.Processes {
			q := &part.Processes[i]
			q.Parents, q.Arguments, q.Libraries = some(r, q.Parents), some(r, q.Arguments), some(r, q.Libraries)
			q.Files, q.Egress, q.Listen = some(r, q.Files), some(r, q.Egress), some(r, q.Listen)
			q.Sockets, q.Capabilities = some(r, q.Sockets), some(r, q.Capabilities)
		}
		if r.IntN(2) == 0 {
			part.Signals = nil
		}
		part.Normalise()
		if part.Validate() != nil {
			continue
		}
		roundTrip(t, part)
	}
}

func some[T any](r *rand.Rand, all []T) []T {
	var part []T
	for _, x := range all {
		if r.IntN(3) > 0 {
			part = append(part, x)
		}
	}
	return part
}

// TestBare checks that what is for Git allows the same and does not change with what is only counted.
func TestBare(t *testing.T) {
	before, after := everything(), everything()
	after.Processes[1].Seen.Count++
	bare := func(p *profile.Profile) string {
		spec, err := v1alpha1.BareSpecOf(p)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if bare(before) != bare(after) {
		t.Error("a count makes a difference for Git")
	}
	if strings.Contains(bare(before), "replicas") {
		t.Errorf("replicas are told: %s", bare(before))
	}
}

// TestLimits checks that a profile which has more than an object may is refused, and says of what.
func TestLimits(t *testing.T) {
	key := profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	for _, test := range []struct {
		what string
		make func(*profile.Profile)
	}{
		{"513 processes, at most 512", func(p *profile.Profile) {
			for i := range 513 {
				p.Processes = append(p.Processes, profile.Process{Path: fmt.Sprintf("/bin/%d", i), AnyArguments: true, Seen: profile.Provenance{Origin: profile.Written}})
			}
		}},
		{"257 egress entries of /bin/a, at most 256", func(p *profile.Profile) {
			q := profile.Process{Path: "/bin/a", Seen: profile.Provenance{Origin: profile.Written}}
			for i := range 257 {
				q.Egress = append(q.Egress, profile.Egress{Name: fmt.Sprintf("n%d.example", i), Protocol: "tcp", Port: 443, Seen: profile.Provenance{Origin: profile.Written}})
			}
			p.Processes = append(p.Processes, q)
		}},
		{"bytes of JSON, at most 1048576", func(p *profile.Profile) {
			for i := range 400 {
				q := profile.Process{Path: fmt.Sprintf("/bin/%d/%s", i, strings.Repeat("x", 4000)), Seen: profile.Provenance{Origin: profile.Written}}
				p.Processes = append(p.Processes, q)
			}
		}},
	} {
		p := &profile.Profile{Key: key}
		test.make(p)
		p.Normalise()
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		if _, err := v1alpha1.SpecOf(p); err == nil || !strings.Contains(err.Error(), test.what) {
			t.Errorf("a profile with %s: %v", test.what, err)
		}
	}
}

// TestInvalid checks that what the API server cannot know to be wrong is told without the lines of a file that nobody has.
func TestInvalid(t *testing.T) {
	o := &v1alpha1.HoldfastProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop"},
		Spec: v1alpha1.ProfileSpec{
			Workload: v1alpha1.Workload{Kind: "Deployment", Name: "web", Container: "app"},
			Processes: []v1alpha1.Process{{
				Path:      "/bin/a",
				Arguments: []v1alpha1.Argument{{Argv: []string{"a", "--port=8080"}}},
				Egress:    []v1alpha1.Egress{{CIDR: "10.0.0.1/8", Protocol: "tcp"}},
			}},
		},
	}
	_, err := o.Profile()
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, part := range []string{"--port=<n>", "10.0.0.0/8"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
	if strings.Contains(err.Error(), "spec:1") || strings.Contains(err.Error(), "line") {
		t.Errorf("%v names a line", err)
	}
}
