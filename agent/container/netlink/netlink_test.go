// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// newNamespace makes a network namespace and returns it with a path to it.
func newNamespace(t *testing.T) (netns.NsHandle, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns, fmt.Sprintf("/proc/self/fd/%d", int(ns))
}

// TestFollow has an interface that is there before, one that comes, is renamed and goes, and addresses of both.
func TestFollow(t *testing.T) {
	ns, path := newNamespace(t)
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	link := func(name string) netlink.Link {
		t.Helper()
		l, err := h.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	add := func(l netlink.Link, addr string) *netlink.Addr {
		t.Helper()
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.AddrAdd(l, a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	add(link("lo"), "192.0.2.1/32")

	book := container.NewAddressBook()
	s, err := New(Config{Book: book, NetNS: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	has := func(addr, name string) {
		t.Helper()
		wait.Until(t, time.Minute, func() error {
			e, known := book.Lookup(netip.MustParseAddr(addr))
			if known != (name != "") || known && e != (container.Endpoint{Kind: container.EndpointHost, Name: name, Interface: name}) {
				return fmt.Errorf("%s is %+v, want %q", addr, e, name)
			}
			return nil
		})
	}
	has("192.0.2.1", "lo")
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-old"}}
	if err := h.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	gone := add(link("br-old"), "198.51.100.1/24")
	add(link("br-old"), "198.51.100.2/24")
	has("198.51.100.1", "br-old")
	if err := h.AddrDel(link("br-old"), gone); err != nil {
		t.Fatal(err)
	}
	has("198.51.100.1", "")
	// The kernel makes the second address primary or drops it with the first, as promote_secondaries says.
	if err := h.AddrReplace(link("br-old"), &netlink.Addr{IPNet: must(netlink.ParseIPNet("198.51.100.2/24"))}); err != nil {
		t.Fatal(err)
	}
	has("198.51.100.2", "br-old")
	if err := h.LinkSetName(link("br-old"), "br-new"); err != nil {
		t.Fatal(err)
	}
	has("198.51.100.2", "br-new")
	if err := h.LinkDel(link("br-new")); err != nil {
		t.Fatal(err)
	}
	has("198.51.100.2", "")
	has("192.0.2.1", "lo")
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not end")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestNoNamespace checks that a wrong path is reported and does not keep Run from ending.
func TestNoNamespace(t *testing.T) {
	s, err := New(Config{Book: container.NewAddressBook(), NetNS: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.session(t.Context()); err == nil {
		t.Error("a namespace that does not exist is read")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a source without a book is accepted")
	}
}
