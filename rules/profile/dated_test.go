// SPDX-License-Identifier: Apache-2.0

package profile

import "testing"

func TestDatesAreGeneralisedAtOnce(t *testing.T) {
	for path, want := range map[string]string{
		"/var/log/app/2026-11-21.log":      "/var/log/app/<n>-<n>-<n>.log",
		"/var/lib/shop/orders-20261121":    "/var/lib/shop/orders-<n>",
		"/data/2026.01.02/part":            "/data/<n>.<n>.<n>/part",
		"/var/log/app/2026-13-21.log":      "/var/log/app/2026-13-21.log",
		"/srv/v120261121/x":                "/srv/v120261121/x",
		"/var/log/app/segment-17.log":      "/var/log/app/segment-17.log",
		"/backup/2026-11-21T07:30:00Z.tar": "/backup/<n>-<n>-<n>T<n>:<n>:<n>Z.tar",
	} {
		p := &Profile{Processes: []Process{{
			Path: "/bin/a", Seen: Provenance{Origin: Learned}, AnyArguments: true,
			Files: []File{{Path: path, Access: Write | Create, Seen: Provenance{Origin: Learned}}},
		}}}
		if got := Generalise(p).Processes[0].Files[0].Path; got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
