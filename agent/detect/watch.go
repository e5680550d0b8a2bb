// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/wire"
)

type address struct {
	family  uint16
	address [16]uint8
}

// metadataTexts are the addresses at which clouds serve instance metadata: AWS, Azure, GCP and most others; AWS by
// IPv6; AWS for tasks and pods; Alibaba; Oracle's second.
var metadataTexts = []string{
	"169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23", "100.100.100.200", "192.0.0.192",
}

var metadataAddresses = func() []address {
	list := make([]address, 0, len(metadataTexts))
	for _, text := range metadataTexts {
		ip := netip.MustParseAddr(text)
		a := address{family: 10, address: ip.As16()}
		if ip.Is4() {
			four := ip.As4()
			a = address{family: 2}
			copy(a.address[:], four[:])
		}
		list = append(list, a)
	}
	return list
}()

// Watches is what the kernel side must let through for the rules: coarse, the rules decide.
type Watches struct {
	// ReadNames are names of files, or of the folder they are in, whose opening for read is wanted; a star and four bytes
	// stand for every name that ends so.
	ReadNames []string
	// WritePaths are prefixes under which every change is wanted.
	WritePaths []string
	Addresses  []netip.Addr
	// Of containers and of the host: the classes of which all events, and of which watched ones, are wanted.
	Containers wire.Interest
	Host       wire.Interest
}

// Watch gives what the rules of this package need.
func Watch() Watches {
	w := Watches{
		ReadNames: []string{
			"shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "id_rsa", "id_ecdsa", "id_ed25519", "id_dsa", "token",
			".aws", ".kube", "application_default_credentials.json", "kubelet.conf", "admin.conf", "private", "*.key",
		},
		WritePaths: binaryDirs,
		Containers: wire.Interest{
			All: on(wire.TypeSetns, wire.TypeUnshare, wire.TypeModule, wire.TypePtrace, wire.TypePassedSocket,
				wire.TypeCgroupAttach),
			Watched: writes | on(wire.TypeConnect, wire.TypeSendto, wire.TypeSocket),
		},
		Host: wire.Interest{All: on(wire.TypeModule)},
	}
	for _, text := range metadataTexts {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(text))
	}
	return w
}
