// SPDX-License-Identifier: Apache-2.0

// Package netlink keeps the node's interfaces and their addresses, from rtnetlink, in the address book.
//
// Source.Run subscribes to changes of links and addresses and reads everything anew after a loss. The library's receive
// goroutines end when Run does.
package netlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

const (
	// source is this package's name in the address book.
	source = "netlink"
	// receiveBuffer holds bursts of changes, as when many pods start.
	receiveBuffer = 1 << 20
)

// Config is what a Source needs.
type Config struct {
	// Book receives the addresses. Required.
	Book *container.AddressBook
	// NetNS is the path of the network namespace to read (/proc/1/ns/net for an agent that is not in the host's), the
	// caller's own if empty.
	NetNS  string
	Logger *slog.Logger
}

// Source follows interfaces and addresses.
type Source struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{}
	// names are the interfaces by index. Only the session in progress uses it.
	names map[int]string
}

// New prepares a source. It opens nothing yet.
func New(cfg Config) (*Source, error) {
	if cfg.Book == nil {
		return nil, errors.New("netlink source: no address book")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg: cfg, log: cfg.Logger, ready: make(chan struct{})}, nil
}

// Ready is closed once the first reading is complete.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Run follows changes until ctx ends, and returns nil then. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	session.Keep(ctx, s.session, func(err error) { s.log.Warn("interface addresses are read anew", "error", err) })
	return nil
}

// session subscribes, reads all, and follows until a subscription fails, as it does when its buffer overflows.
func (s *Source) session(ctx context.Context) error {
	ns, err := s.open()
	if err != nil {
		return err
	}
	if ns.IsOpen() {
		defer ns.Close()
	}
	done := make(chan struct{})
	failed := make(chan error, 2)
	report := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	// The receivers end when done is closed; draining lets one that is in the middle of a delivery get there.
	defer drain(links, addrs)
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{
		Namespace: &ns, ErrorCallback: report, ReceiveBufferSize: receiveBuffer,
	}); err != nil {
		close(links)
		close(addrs)
		return fmt.Errorf("subscribe to links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{
		Namespace: &ns, ErrorCallback: report, ReceiveBufferSize: receiveBuffer,
	}); err != nil {
		close(addrs)
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	if err := s.list(ns); err != nil {
		return err
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("follow changes: %w", err)
		case u, ok := <-links:
			if !ok {
				return errors.New("follow links: subscription ended")
			}
			s.link(u)
		case u, ok := <-addrs:
			if !ok {
				return errors.New("follow addresses: subscription ended")
			}
			s.addr(u.LinkIndex, u.LinkAddress.IP, u.NewAddr)
		}
	}
}

// drain empties the channels until their senders have closed them.
func drain(links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate) {
	for range links {
		continue
	}
	for range addrs {
		continue
	}
}

// open returns the namespace to read. Its own is no handle: to enter one, even that, takes CAP_SYS_ADMIN.
func (s *Source) open() (netns.NsHandle, error) {
	if s.cfg.NetNS == "" {
		return netns.None(), nil
	}
	ns, err := netns.GetFromPath(s.cfg.NetNS)
	if err != nil {
		return ns, fmt.Errorf("open network namespace %s: %w", s.cfg.NetNS, err)
	}
	return ns, nil
}

// list reads all interfaces and addresses and replaces what the book had of them.
func (s *Source) list(ns netns.NsHandle) error {
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	s.names = make(map[int]string, len(links))
	for _, l := range links {
		s.names[l.Attrs().Index] = l.Attrs().Name
	}
	s.cfg.Book.ReleaseAll(source, "")
	for _, a := range addrs {
		s.addr(a.LinkIndex, a.IP, true)
	}
	return nil
}

// link takes a change of an interface: one that is renamed keeps its addresses, one that is removed loses them.
func (s *Source) link(u netlink.LinkUpdate) {
	index, name := int(u.Index), u.Attrs().Name
	if u.Header.Type == unix.RTM_DELLINK {
		delete(s.names, index)
		s.cfg.Book.ReleaseAll(source, linkKey(index))
		return
	}
	// Addresses come by another socket and may have come first, for an interface without a name yet.
	if s.names[index] != name {
		s.cfg.Book.Rename(source, linkKey(index), container.Endpoint{
			Kind: container.EndpointHost, Name: name, Interface: name,
		})
	}
	s.names[index] = name
}

// addr takes an address that an interface has got or lost.
func (s *Source) addr(index int, ip []byte, added bool) {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return
	}
	if !added {
		s.cfg.Book.Release(source, linkKey(index), a)
		return
	}
	name := s.names[index]
	s.cfg.Book.Set(source, linkKey(index), a, container.Endpoint{
		Kind: container.EndpointHost, Name: name, Interface: name,
	})
}

// linkKey names an interface in the book by its index, which outlives a change of name.
func linkKey(index int) string { return strconv.Itoa(index) }
