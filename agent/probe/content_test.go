// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"os"
	"testing"
)

// TestContent wants each way of content to be seen but that of Java, and a reason or a mechanism for each.
func TestContent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	kernel, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Support{
		"content": Yes, "content_openssl": Yes, "content_gnutls": Yes, "content_nss": Yes, "content_go": Yes, "content_java": No,
	}
	list := kernel.Content()
	if len(list) != len(want) {
		t.Errorf("%d rows, want %d", len(list), len(want))
	}
	for _, c := range list {
		if c.See != want[c.Signal] || c.Block != No || (c.See == Yes) == (c.Mechanism == "") || c.Reason == "" {
			t.Errorf("%+v", c)
		}
	}
}
