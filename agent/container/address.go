// SPDX-License-Identifier: Apache-2.0

package container

import (
	"net/netip"
	"sync"
)

// EndpointKind is what an address belongs to.
type EndpointKind uint8

const (
	// EndpointHost is an address of one of the node's interfaces.
	EndpointHost EndpointKind = iota + 1
	// EndpointPod is a pod's address.
	EndpointPod
	// EndpointService is a service's address.
	EndpointService
)

// String returns the kind in lower case.
func (k EndpointKind) String() string {
	switch k {
	case EndpointHost:
		return "host"
	case EndpointPod:
		return "pod"
	case EndpointService:
		return "service"
	default:
		return "unknown"
	}
}

// Endpoint is the owner of an address.
type Endpoint struct {
	Kind EndpointKind
	// Name is the pod's or service's name; Namespace its namespace.
	Name      string
	Namespace string
	// Interface is the name of the node's interface, for EndpointHost.
	Interface string
	// Owner is the workload of a pod, where Kubernetes has told of it.
	Owner Owner
}

// OwnerAnswer is how a question for the workload of a pod was answered.
type OwnerAnswer uint8

const (
	// OwnerUnknown says that there is no answer and none will come.
	OwnerUnknown OwnerAnswer = iota
	// OwnerKnown says that it is known.
	OwnerKnown
	// OwnerAsked says that Kubernetes has been asked: the answer may be known in a moment.
	OwnerAsked
)

// maxAddresses bounds an AddressBook.
const maxAddresses = 65536

// AddressBook maps addresses to their owners. Several sources fill it, each by its own name, so that one that starts
// over replaces only its own. It is safe for concurrent use.
type AddressBook struct {
	mu      sync.RWMutex
	m       map[netip.Addr]claim
	dropped uint64
}

// claim is an endpoint with the source that named it.
type claim struct {
	Endpoint
	source string
	key    string
}

// NewAddressBook makes an empty book.
func NewAddressBook() *AddressBook {
	return &AddressBook{m: make(map[netip.Addr]claim)}
}

// Lookup returns the owner of an address. IPv4 in IPv6 form counts as IPv4; zones are ignored. It allocates nothing.
func (b *AddressBook) Lookup(a netip.Addr) (Endpoint, bool) {
	a = plain(a)
	b.mu.RLock()
	c, ok := b.m[a]
	b.mu.RUnlock()
	return c.Endpoint, ok
}

// Set gives an address to an endpoint. key is the source's own name for the endpoint, see Release. A pod does
// not displace the host: with host networking it has the node's address, which stays the node's.
func (b *AddressBook) Set(source, key string, a netip.Addr, e Endpoint) {
	a = plain(a)
	b.mu.Lock()
	defer b.mu.Unlock()
	old, known := b.m[a]
	switch {
	case known && old.source != source && old.Kind == EndpointHost && e.Kind == EndpointPod:
		return
	case !known && len(b.m) >= maxAddresses:
		b.dropped++
		return
	}
	b.m[a] = claim{Endpoint: e, source: source, key: key}
}

// Release takes back one address from a source's endpoint.
func (b *AddressBook) Release(source, key string, a netip.Addr) {
	a = plain(a)
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.m[a]; ok && c.source == source && c.key == key {
		delete(b.m, a)
	}
}

// ReleaseAll takes back all addresses of a source's endpoint, with an empty key all of the source's.
func (b *AddressBook) ReleaseAll(source, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for a, c := range b.m {
		if c.source == source && (key == "" || c.key == key) {
			delete(b.m, a)
		}
	}
}

// Rename replaces the endpoint behind all addresses of a source's key.
func (b *AddressBook) Rename(source, key string, e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for a, c := range b.m {
		if c.source == source && c.key == key {
			c.Endpoint = e
			b.m[a] = c
		}
	}
}

// Len returns how many addresses are known, and how many did not fit.
func (b *AddressBook) Len() (known int, dropped uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.m), b.dropped
}

// plain brings an address to the one form that is used as a key.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
