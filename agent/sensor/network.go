// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// What no program of a way can show, said once for the ways that share it.
const (
	unseenOtherProtocols = "connect and bind of SCTP, VSOCK and raw sockets (their creation is seen)"
	unseenFailedRaw      = "IP sockets that the kernel refused to make"
	unseenUringUnix      = "connections to UNIX sockets through io_uring"
	unseenUnixDatagrams  = "datagrams to UNIX sockets"
	unseenUringSocket    = "sockets of other families made through io_uring: no tracepoint tells of its requests by that name before 6.3"
	unseenAcceptTask     = "which task of those that share a listener accepted: the listener's owner is named"
	unseenPassedSplice   = "sendfile and splice into a socket of another container"
	unseenFlowOwner      = "TCP connections that were there before the agent, and the process of such other sockets until it connects or sends with them"
	unseenOtherDatagrams = "each address that raw, SCTP, VSOCK and packet sockets send to (their creation is seen, and what goes over IP is in the flows)"
	unseenOtherPorts     = "DNS on other ports than 53, and inside TLS"
	unseenOtherTraffic   = "what packet, XDP and VSOCK sockets carry (their creation is seen)"
	// What is seen and cannot be refused, or not in the ordinary way.
	notRefusedListen = "not refused: listening on a port that the kernel chose, or with a socket bound before the policy"
	notRefusedSplit  = "refused too are questions that TCP brings in several parts"
	killedFamily     = "a process that makes a socket of another family is killed before it can use it, not refused"
	notRefusedOther  = "SCTP, VSOCK and raw sockets are refused when they are made, not by address"
	notRefusedSplice = "not refused: sendfile and splice into a socket of another container"
)

// networkSignals are attached in this order: accept before flow, which shares its program.
var networkSignals = []signal{
	{"accept", []way{
		{programs: []string{"network_lsm/on_accept"}, mechanism: "lsm sock_graft", block: probe.No},
		{programs: []string{"network/on_tcp"}, mechanism: "cgroup sock_ops", unseen: unseenAcceptTask, block: probe.No},
	}},
	{"connect", []way{
		{
			programs:  []string{"network/on_connect4", "network/on_connect6", "network_lsm/on_socket_connect"},
			mechanism: "cgroup connect4, connect6; lsm socket_connect for other protocols", unseen: notRefusedOther,
			block: probe.Yes,
		},
		{
			programs:  []string{"network/on_connect4", "network/on_connect6"},
			mechanism: "cgroup connect4, connect6", unseen: unseenOtherProtocols, block: probe.Yes,
		},
	}},
	{"connect_unix", []way{
		{programs: []string{"network_lsm/on_unix_connect"}, mechanism: "lsm unix_stream_connect", unseen: unseenUnixDatagrams, block: probe.No},
		{
			programs:  []string{"network_sys/on_network_exit"},
			mechanism: "tp_btf sys_exit", unseen: unseenUnixDatagrams + "; " + unseenUringUnix, block: probe.No,
		},
	}},
	{"sendto", []way{{
		programs:  []string{"network/on_sendmsg4", "network/on_sendmsg6"},
		mechanism: "cgroup sendmsg4, sendmsg6", unseen: unseenOtherDatagrams, block: probe.Yes,
	}}},
	{"bind", []way{
		{
			programs:  append([]string{"network_lsm/on_socket_bind"}, bindPrograms...),
			mechanism: "cgroup bind4, bind6, post_bind4, post_bind6; lsm socket_bind for other protocols", block: probe.Yes,
		},
		{
			programs:  bindPrograms,
			mechanism: "cgroup bind4, bind6, post_bind4, post_bind6", unseen: unseenOtherProtocols, block: probe.Yes,
		},
	}},
	{"listen", []way{
		{
			programs:  []string{"network/on_inet_state", "network_lsm/on_listen"},
			mechanism: "tp_btf inet_sock_set_state; lsm socket_listen", block: probe.Yes,
		},
		{
			programs: []string{"network/on_inet_state"}, mechanism: "tp_btf inet_sock_set_state", unseen: notRefusedListen,
			block: probe.No,
		},
	}},
	{"socket", []way{
		{
			programs:  []string{"network/on_sock_create", "network_lsm/on_socket_create"},
			mechanism: "cgroup sock_create; lsm socket_create for other families", unseen: unseenFailedRaw, block: probe.Yes,
		},
		{
			programs:  []string{"network/on_sock_create", "network_sys/on_network_exit", "network_sys/on_uring_socket"},
			mechanism: "cgroup sock_create; tp_btf sys_exit, io_uring_submit_req for other families",
			unseen:    unseenFailedRaw + "; " + killedFamily, block: probe.Yes,
		},
		{
			programs:  []string{"network/on_sock_create", "network_sys/on_network_exit"},
			mechanism: "cgroup sock_create; tp_btf sys_exit for other families",
			unseen:    unseenFailedRaw + "; " + unseenUringSocket + "; " + killedFamily, block: probe.Yes,
		},
	}},
	{"dns", []way{{
		programs:  []string{"packet/on_egress", "packet/on_ingress"},
		mechanism: "cgroup_skb egress, ingress", unseen: unseenOtherPorts + "; " + notRefusedSplit, block: probe.Yes,
	}}},
	{"flow", []way{
		{
			programs:  append([]string{ownerIterator}, flowPrograms...),
			mechanism: flowMechanism, unseen: unseenOtherTraffic, block: probe.No,
		},
		{
			programs:  flowPrograms,
			mechanism: flowMechanism, unseen: unseenOtherTraffic + "; " + unseenFlowOwner, block: probe.No,
		},
	}},
	{"passed_socket", []way{
		{
			programs:  []string{"network_lsm/on_sendmsg", "network_lsm/on_sendpage"},
			mechanism: "lsm socket_sendmsg, fentry sock_sendpage", unseen: notRefusedSplice, block: probe.Yes,
		},
		// From 6.5 on sendfile and splice are sends.
		{
			needs: lacksSendpage, programs: []string{"network_lsm/on_sendmsg"}, mechanism: "lsm socket_sendmsg", block: probe.Yes,
		},
		{programs: []string{"network_send/on_send"}, mechanism: "tp_btf sock_send_length", block: probe.No},
		{
			programs: []string{"network_lsm/on_sendmsg"}, mechanism: "lsm socket_sendmsg", unseen: unseenPassedSplice,
			block: probe.Yes,
		},
	}},
}

// lacksSendpage wants a kernel without the way around the hook of sends.
func lacksSendpage(kernel *btf.Spec) error {
	var sendpage *btf.Func
	err := kernel.TypeByName("sock_sendpage", &sendpage)
	if errors.Is(err, btf.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kernel function sock_sendpage: %w", err)
	}
	return errSendpage
}

var errSendpage = errors.New("sendfile and splice go around the hook of sends")

const (
	// Iterators: of the owners of sockets that were there before, and of the flows that go on.
	ownerIterator  = "socket/on_task_file"
	socketIterator = "flow/on_sock_state"
	peerIterator   = "flow/on_flow"

	flowMechanism = "cgroup sock_ops, cgroup_skb egress and ingress, sock_release; sk_storage and map iterators"
)

var bindPrograms = []string{"network/on_bind4", "network/on_bind6", "network/on_bound4", "network/on_bound6"}

var flowPrograms = []string{
	"network/on_tcp", "network/on_sock_release", "packet/on_egress", "packet/on_ingress", socketIterator, peerIterator,
}

// voidHooks are LSM hooks without a verdict: a program cannot modify their return, but be called before them.
var voidHooks = map[string]bool{"sock_graft": true}

// constants gives the constants of the programs that depend on what the kernel has and on what is attached.
func (l *loader) constants() (map[string]any, error) {
	kernel, err := l.types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	asStruct, err := completionAsStruct(kernel)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"storage_here":   l.family == probe.FamilyLSM,
		"accept_by_task": l.attached["network_lsm/on_accept"],
		"uring_cqe":      asStruct,
		// Since then the kernel acts for a process in threads of that process.
		"state_when_needed": kernel.TypeByName("create_io_thread", new(*btf.Func)) == nil,
	}, nil
}

// WatchAddress asks for records of what contacts addresses of the prefix, even where not all contacts are read.
func (s *Sensor) WatchAddress(prefix netip.Prefix) error {
	key := wire.WatchAddr{Addr: prefix.Addr().As16(), Bits: uint32(prefix.Bits())}
	if prefix.Addr().Is4() {
		key.Bits += 96
	}
	m, err := s.loader.mapOf("network", "watched_addresses")
	if err != nil {
		return err
	}
	if err := m.Put(key, uint32(1)); err != nil {
		return fmt.Errorf("map watched_addresses: prefix %s: %w", prefix, err)
	}
	s.own.note("watched_addresses", key, true)
	return nil
}

// ReportFlows makes the kernel side report the flows on which something came since the last time, as flow records with
// their totals. Ended flows are reported without it.
func (s *Sensor) ReportFlows() error {
	return errors.Join(s.iterate(socketIterator, "sock_states"), s.iterate(peerIterator, "flow_by_peer"))
}

// sweepEvery is how often RunFlows calls SweepAdmitted, in intervals.
const sweepEvery = 6

// RunFlows calls ReportFlows at every interval until the context ends, and SweepAdmitted now and then.
func (s *Sensor) RunFlows(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ticks := 1; ; ticks++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.ReportFlows(); err != nil {
				return fmt.Errorf("report flows: %w", err)
			}
			if ticks%sweepEvery != 0 {
				continue
			}
			if _, err := s.SweepAdmitted(); err != nil {
				return fmt.Errorf("take out addresses that are admitted no more: %w", err)
			}
		}
	}
}

// iterate runs an iterator to its end, over the named map if it is for maps; its records come out of the ring.
func (s *Sensor) iterate(name, over string) error {
	p := s.loader.load(name)
	if p.err != nil {
		return p.err
	}
	options := link.IterOptions{Program: p.program}
	if over != "" {
		options.Map = s.loader.maps[over]
	}
	iter, err := link.AttachIter(options)
	if err != nil {
		return fmt.Errorf("program %s: attach: %w", name, err)
	}
	defer iter.Close()
	walk, err := iter.Open()
	if err != nil {
		return fmt.Errorf("program %s: open: %w", name, err)
	}
	defer walk.Close()
	if _, err := io.Copy(io.Discard, walk); err != nil {
		return fmt.Errorf("program %s: run: %w", name, err)
	}
	return nil
}

// isGated tells the programs that cannot be replaced in place: those of a new generation wait for their turn.
func isGated(spec *ebpf.ProgramSpec) bool {
	return (spec.Type == ebpf.Tracing || spec.Type == ebpf.LSM) && !isIterator(spec)
}

// isIterator tells the programs that are run, not attached.
func isIterator(spec *ebpf.ProgramSpec) bool {
	return spec.Type == ebpf.Tracing && spec.AttachType == ebpf.AttachTraceIter
}
