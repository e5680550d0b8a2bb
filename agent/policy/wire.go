// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Bits of the keys of tries before what varies in length: the policy and the subject, for addresses also port, protocol
// and padding.
const (
	treeHead   = 32 + 64
	egressHead = 32 + 64 + 16 + 8 + 8
)

// Wire gives the key of the map.
func (k Key) Wire(policy uint32) wire.AllowKey {
	return wire.AllowKey{Policy: policy, Class: uint32(k.Class), Subject: k.Subject, Object: k.Object}
}

// KeyOf is the inverse of Key.Wire.
func KeyOf(k *wire.AllowKey) Key {
	return Key{Class: wire.AllowClass(k.Class), Subject: k.Subject, Object: k.Object}
}

// Wire gives the key of the trie. Compile makes no folder that is longer than the key can hold.
func (t Tree) Wire(policy uint32) wire.TreeKey {
	k := wire.TreeKey{Policy: policy, Subject: t.Subject}
	n := copy(k.Path[:], t.Folder)
	k.Bits = uint32(treeHead + 8*n)
	return k
}

// TreeOf is the inverse of Tree.Wire.
func TreeOf(k *wire.TreeKey) (Tree, error) {
	n := (int(k.Bits) - treeHead) / 8
	if n <= 0 || n > len(k.Path) || int(k.Bits) != treeHead+8*n || k.Path[n-1] != '/' {
		return Tree{}, fmt.Errorf("key of %d bits is of no folder", k.Bits)
	}
	return Tree{Subject: k.Subject, Folder: string(bytes.Clone(k.Path[:n]))}, nil
}

// Wire gives the key of the trie.
func (c Contact) Wire(policy uint32) wire.EgressKey {
	return wire.EgressKey{
		Bits: uint32(egressHead + c.Prefix.Bits()), Policy: policy, Subject: c.Subject,
		Port: c.Port, Protocol: c.Protocol, Addr: c.Prefix.Addr().As16(),
	}
}

// ContactOf is the inverse of Contact.Wire.
func ContactOf(k *wire.EgressKey) (Contact, error) {
	bits := int(k.Bits) - egressHead
	if bits < 0 || bits > 128 {
		return Contact{}, fmt.Errorf("key of %d bits is of no prefix", k.Bits)
	}
	return Contact{
		Subject: k.Subject, Port: k.Port, Protocol: k.Protocol, Prefix: netip.PrefixFrom(netip.AddrFrom16(k.Addr), bits).Masked(),
	}, nil
}
