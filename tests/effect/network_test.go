// SPDX-License-Identifier: Apache-2.0

package effect

import "github.com/holdfast-project/holdfast/agent/wire"

// networkDeeds talk to whom the profile does not list, or in a way that it does not list. All that is sent arrives at a sink
// of the same network, if it is let go.
func networkDeeds() []deed {
	const outside = unlistedAddr + " 8080"
	address := because(wire.ReasonAddress)
	return []deed{
		{name: "TCP to an address that is not listed", rows: "67", act: "contact tcp " + outside,
			effect: arrived, by: "connect", why: address},
		{name: "TCP to another port", rows: "67, 82", act: "contact tcp " + listedAddr + " 6666",
			effect: arrived, by: "connect", why: address},
		{name: "TCP to an address of another program", rows: "67", act: "contact tcp " + loginAddr + " 8080",
			effect: arrived, by: "connect", why: address},
		{name: "TCP to a v4-mapped address", rows: "67, e14", act: "contact tcp ::ffff:" + outside,
			effect: arrived, by: "connect", why: address},
		{name: "TCP Fast Open", rows: "67, e14", act: "contact fastopen " + outside,
			effect: arrived, by: "connect", why: address},
		{name: "TCP through io_uring", rows: "27, e1", act: "contact ring " + outside,
			effect: arrived, by: "connect", why: address},
		{name: "TCP by several paths (MPTCP)", rows: "67, e14", act: "contact mptcp " + outside,
			effect: arrived, by: "connect", why: address},
		{name: "UDP by connect", rows: "67", act: "contact udp " + outside,
			effect: arrived, by: "connect", why: address},
		{name: "UDP by sendto", rows: "67, e14", act: "contact sendto " + outside,
			effect: arrived, by: "sendto", why: address},
		{name: "UDP by sendmsg", rows: "67, e14", act: "contact sendmsg " + outside,
			effect: arrived, by: "sendto", why: address},
		{name: "UDP by sendmmsg", rows: "67, e14", act: "contact sendmmsg " + outside,
			effect: arrived, by: "sendto", why: address},
		{name: "UDP to a v4-mapped address", rows: "67, e14", act: "contact sendto ::ffff:" + outside,
			effect: arrived, by: "sendto", why: address},
		{name: "UDP past the address connected to", rows: "67, e14", act: "contact elsewhere " + outside,
			effect: arrived, by: "sendto", why: address},
		{name: "the metadata service", rows: "69", act: "contact tcp " + metadataAddr + " 80",
			effect: arrived, by: "connect", why: because(wire.ReasonMetadata)},
		{name: "an echo request by a raw socket", rows: "71, 75, e13", act: "echo",
			effect: arrived, by: "socket", why: because(wire.ReasonRawSocket)},
		{name: "a frame by a packet socket", rows: "71, e13", act: "frame",
			effect: arrived, by: "socket", why: because(wire.ReasonRawSocket)},
		{name: "SCTP", rows: "71, e14", act: "contact sctp " + outside,
			effect: arrived, by: "socket", why: because(wire.ReasonSocket)},
		{name: "a netlink socket", rows: "71", act: "kernel",
			effect: marked, by: "socket", why: because(wire.ReasonSocket)},
		{name: "listen on a port", rows: "79", act: "listen 4444",
			effect: served, by: "bind", why: because(wire.ReasonListen)},
		{name: "listen on a port that the kernel chooses", rows: "79", act: "listen 0",
			effect: served, by: "listen", why: because(wire.ReasonListen)},
		{name: "contact a name", rows: "68", act: "name evil.example",
			effect: arrived, by: "dns", why: because(wire.ReasonDomain, wire.ReasonAddress)},
		{name: "carry data out in a name", rows: "68, 73", act: "question udp",
			effect: arrived, by: "dns", why: because(wire.ReasonDomain)},
		{name: "carry data out in a name by TCP", rows: "73, e15", act: "question tcp",
			effect: arrived, by: "dns", why: because(wire.ReasonDomain)},
		{name: "a socket passed from another container", rows: "61, 80, e18", act: "take", files: passed,
			effect: arrived, by: "passed_socket", why: because(wire.ReasonPassedSocket)},
		{name: "another network namespace", rows: "52, e12", act: "enter tcp " + outside, files: another,
			effect: arrived, by: "connect", why: address},
		{name: "contact after leaving the cgroup", rows: "54, e11", act: "moved tcp " + outside, files: elsewhereList,
			effect: arrived, by: "connect", why: address},
		{name: "contact from a nested container's cgroup", rows: "54, e11", act: "moved tcp " + outside, files: nestedList,
			effect: arrived, by: "connect", why: address},
	}
}
