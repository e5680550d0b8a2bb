// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestResolvers(t *testing.T) {
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf(`"10.0.0.%d"`, i))
	}
	for _, c := range []struct {
		name, info, want string
	}{
		{"containerd", `{"pid":7,"config":{"metadata":{"name":"p"},"dns_config":{"servers":["10.96.0.10","fd00::a"],"searches":["svc"]}}}`, "10.96.0.10 fd00::a"},
		{"twice, and no address", `{"config":{"dns_config":{"servers":["10.96.0.10","dns.example","10.96.0.10"]}}}`, "10.96.0.10"},
		{"the node's file", `{"config":{"dns_config":{}}}`, ""},
		{"another runtime", `{"image":"pause","pid":7}`, ""},
		{"no JSON", `{`, ""},
		{"another type", `{"config":{"dns_config":{"servers":"10.0.0.1"}}}`, ""},
		{"too many", `{"config":{"dns_config":{"servers":[` + strings.Join(many, ",") + `]}}}`,
			"10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7"},
	} {
		var want []netip.Addr
		for text := range strings.FieldsSeq(c.want) {
			want = append(want, netip.MustParseAddr(text))
		}
		if got := resolvers(map[string]string{"info": c.info}); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
	if got := resolvers(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
