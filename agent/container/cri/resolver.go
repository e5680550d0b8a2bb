// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"encoding/json"
	"net/netip"
	"slices"
)

// maxResolvers is how many servers of a resolv.conf count: three for the C library, more for others.
const maxResolvers = 8

// resolvers reads out of a sandbox's verbose status which DNS servers its resolv.conf was given: containerd keeps there what
// the kubelet asked for. The file itself is not read, since what runs in the container can write to it. Nil where the runtime
// does not say, or was told of none and took over the file of the node.
func resolvers(info map[string]string) []netip.Addr {
	var said struct {
		Config struct {
			DNSConfig struct {
				Servers []string `json:"servers"`
			} `json:"dns_config"`
		} `json:"config"`
	}
	if json.Unmarshal([]byte(info["info"]), &said) != nil {
		return nil
	}
	var list []netip.Addr
	for _, text := range said.Config.DNSConfig.Servers {
		server, err := netip.ParseAddr(text)
		if err == nil && len(list) < maxResolvers && !slices.Contains(list, server) {
			list = append(list, server)
		}
	}
	return list
}
