// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"errors"
	"fmt"
	"testing"
)

func TestCompiled(t *testing.T) {
	const head = "apiVersion: holdfast.dev/v1alpha1\nkind: Profile\nmetadata: {kind: Pod, name: p, container: c}\nprocesses:\n"
	for text, want := range map[string]int{
		"  - {path: /a}":                     2,
		"  - {path: /a, anyArguments: true}": 2,
		"  - {path: /a, parents: [{path: /b}, {path: (runtime)}], arguments: [{argv: [a]}]}": 5,
		"  - {path: '*', egress: [{name: a.example, protocol: tcp, port: 443}]}":             3,
		"  - {path: '*', egress: [{cidr: 10.0.0.0/8, protocol: tcp, port: 53}]}":             2,
		"  - {path: '*', egress: [{cidr: 10.0.0.1/32, protocol: udp, port: 53}]}":            3,
		"  - {path: '*', egress: [{cidr: '::/0', protocol: any, port: any}]}":                97,
		"  - {path: '*', egress: [{cidr: 'fd00::/8', protocol: any, port: any}]}":            2,
	} {
		p, err := DecodeOne("test", []byte(head+text+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := p.Compiled(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestEffectiveIsBounded has an overlay of as many entries as a profile may have, none of which says who may start it: what it
// stands for is twice as much.
func TestEffectiveIsBounded(t *testing.T) {
	overlay := &Profile{Key: Key{Kind: "Pod", Name: "p", Container: "c"}}
	for i := range MaxEntries {
		overlay.Processes = append(overlay.Processes, Process{Path: fmt.Sprintf("/bin/%05d", i), Seen: Provenance{Origin: Written}})
	}
	if overlay.Len() != MaxEntries {
		t.Fatalf("%d entries", overlay.Len())
	}
	if _, err := Effective(nil, overlay); !errors.Is(err, ErrLimit) {
		t.Errorf("twice as many as may be are put in force: %v", err)
	}
	overlay.Processes = overlay.Processes[:MaxEntries/2]
	p, err := Effective(nil, overlay)
	if err != nil || p.Len() != MaxEntries || p.Compiled() != MaxEntries {
		t.Errorf("half of them: %v, %d entries", err, p.Len())
	}
}
