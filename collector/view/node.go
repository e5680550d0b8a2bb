// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Node is one node as the collector knows it.
type Node struct {
	Node string `json:"node"`
	// Connected says whether the agent's stream is open now.
	Connected bool `json:"connected"`
	// LastSeen is when the agent last sent anything.
	LastSeen  time.Time `json:"last_seen,omitzero"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	// Address is where the agent last connected from, host and port.
	Address string `json:"address,omitempty"`
	// Revoked is the time up to which certificates of the node are void, missing when none are.
	Revoked time.Time `json:"revoked,omitzero"`
	// Allowed is when the revoked node was allowed to enrol again with a ServiceAccount token, missing when it was not.
	Allowed      time.Time `json:"allowed,omitzero"`
	AgentVersion string    `json:"agent_version"`
	Kernel       string    `json:"kernel"`
	Machine      string    `json:"machine"`
	BootID       string    `json:"boot_id"`
	// Lost is the sum that CountLost makes of what follows.
	Lost uint64 `json:"lost"`
	// Undelivered counts records that the agent had spooled and that will never reach the collector, by lane and cause:
	// alerts/evicted. What was lost before it was spooled is in Health.
	Undelivered map[string]uint64 `json:"undelivered"`
	// Health is what the agent said of itself last; it is missing until it has.
	Health       *Health      `json:"health,omitempty"`
	Capabilities []Capability `json:"capabilities"`
}

// Refusal is that somebody who would have been a node was refused. What it said of itself is as it said it.
type Refusal struct {
	// Node is the name that was asked for, Host the address that asked.
	Node string `json:"node"`
	Host string `json:"host"`
	// Credential is join_token, service_account or certificate; Cause is a word of docs/enrolment.md, and Reason says it in
	// full, the last time.
	Credential string    `json:"credential"`
	Cause      string    `json:"cause"`
	Reason     string    `json:"reason"`
	Count      uint64    `json:"count"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
}

// Health is an agent's account of itself. Counters run since the agent started.
type Health struct {
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"`
	// Events were taken from the rings, Counted went no further than a counter in the kernel, both by class; Losses are by
	// cause, and hold what could not be found out of an event, too. Uninspected is what of the content that containers send
	// and get was not looked through, by cause: of that no event is lost. It is missing where there is none.
	Events      map[string]uint64 `json:"events"`
	Counted     map[string]uint64 `json:"counted"`
	Losses      map[string]uint64 `json:"losses"`
	Uninspected map[string]uint64 `json:"uninspected,omitempty"`
	Lag         Lag               `json:"lag"`
	Containers  uint32            `json:"containers"`
	Processes   uint32            `json:"processes"`
	RSSBytes    uint64            `json:"rss_bytes"`
	Spools      []Spool           `json:"spools"`
	// Opaque are processes of inspected containers whose TLS is not seen, the first of them.
	Opaque []Opaque `json:"opaque,omitempty"`
}

// Opaque is a process that speaks TLS of which nothing is seen.
type Opaque struct {
	PID        uint32 `json:"pid"`
	Container  string `json:"container"`
	Executable string `json:"executable"`
	Reason     string `json:"reason"`
}

// Lag is the delay from the kernel's time stamp to user space over the last period.
type Lag struct {
	P50Nanoseconds uint64 `json:"p50_ns"`
	P99Nanoseconds uint64 `json:"p99_ns"`
}

// Spool is how full a lane of an agent's disk spool is.
type Spool struct {
	// Lane is alerts or records.
	Lane    string `json:"lane"`
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"`
	Epoch   uint64 `json:"epoch,string"`
	// Last is the sequence written last, Acked the one up to which the collector has acknowledged.
	Last  uint64 `json:"last"`
	Acked uint64 `json:"acked"`
}

// Pending is how many records the collector has not acknowledged yet.
func (s Spool) Pending() uint64 {
	return s.Last - min(s.Acked, s.Last)
}

// Capability says what an agent can do for one signal on its kernel.
type Capability struct {
	Signal string `json:"signal"`
	// See and Block are yes, no or unknown.
	See       string `json:"see"`
	Block     string `json:"block"`
	Mechanism string `json:"mechanism"`
	Reason    string `json:"reason"`
}

// The words of Capability.See and Capability.Block.
const (
	SupportYes     = "yes"
	SupportNo      = "no"
	SupportUnknown = "unknown"
)

// CountLost is how many events and records of the node never came, as far as is known: what was lost before the spool, and
// what was spooled and then given up. The agent's and the collector's counts of the latter are of the same records, over
// different times, so the larger one counts.
func (n Node) CountLost() uint64 {
	var before, spooled uint64
	if n.Health != nil {
		losses := n.Health.Losses
		for cause, count := range losses {
			if strings.HasPrefix(cause, "spool_") {
				spooled += count
			} else if losesEvents(cause) {
				before += count
			}
		}
		// The reader's count of what the kernel side counted, too.
		for _, ring := range []string{"urgent", "bulk"} {
			before += max(losses["ring_"+ring+"_gap"], losses["kernel_ring_"+ring+"_full"])
		}
	}
	return before + max(spooled, sum(n.Undelivered))
}

// losesEvents says whether a cause of docs/metrics.md is one event that was lost each time. The causes that are not leave
// a gap in what is known of an event; the rings are counted apart. A cause that is not listed is taken for a loss.
func losesEvents(cause string) bool {
	switch cause {
	case "kernel_ring_urgent_full", "kernel_ring_bulk_full", "ring_urgent_gap", "ring_bulk_gap",
		"kernel_process_map_full", "kernel_cgroup_map_full", "kernel_socket_map_full", "kernel_flow_map_full",
		"kernel_user_read", "kernel_path_too_deep", "kernel_path_read", "kernel_argv_read", "kernel_argv_hash_partial",
		"kernel_process_unknown", "process_unknown", "kernel_socket_unknown", "process_table_full", "parking_full",
		"container_unattributed", "cgroup_dropped", "container_record_dropped", "label_flow_full", "label_forgotten",
		"label_file_unread", unreset:
		return false
	default:
		return true
	}
}

// Seen is how many events the agent has taken from the rings since it started.
func (h *Health) Seen() uint64 {
	if h == nil {
		return 0
	}
	return sum(h.Events)
}

func sum(counts map[string]uint64) uint64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	return total
}

// unreset is the cause of what was refused by the kernel and not reset by the agent, which is no want of inspection.
const unreset = "content_not_reset"

// uninspected says whether a cause is about content that was not looked through.
func uninspected(cause string) bool {
	switch cause {
	case "kernel_content_read", "kernel_ring_content_full":
		return true
	case unreset:
		return false
	default:
		return strings.HasPrefix(cause, "content_") || strings.HasPrefix(cause, "waf_crs_")
	}
}

// NewHealth gives an agent's health its outside shape; nil stays nil.
func NewHealth(h *apiv1.Health) *Health {
	if h == nil {
		return nil
	}
	health := &Health{
		Time:       time.Unix(0, h.GetTimeNs()).UTC(),
		Started:    time.Unix(0, h.GetStartNs()).UTC(),
		Events:     counts(h.GetEvents()),
		Counted:    counts(h.GetCounted()),
		Losses:     map[string]uint64{},
		Lag:        Lag{P50Nanoseconds: h.GetLagP50Ns(), P99Nanoseconds: h.GetLagP99Ns()},
		Containers: h.GetContainers(),
		Processes:  h.GetProcesses(),
		RSSBytes:   h.GetRssBytes(),
		Spools:     []Spool{},
	}
	for cause, n := range h.GetLosses() {
		switch {
		case !uninspected(cause):
			health.Losses[cause] = n
		case health.Uninspected == nil:
			health.Uninspected = map[string]uint64{cause: n}
		default:
			health.Uninspected[cause] = n
		}
	}
	for _, s := range h.GetSpools() {
		health.Spools = append(health.Spools, Spool{
			Lane: enumName(s.GetLane().String(), "LANE_"), Records: s.GetRecords(), Bytes: s.GetBytes(),
			Epoch: s.GetEpoch(), Last: s.GetLast(), Acked: s.GetAcked(),
		})
	}
	for _, o := range h.GetOpaque() {
		health.Opaque = append(health.Opaque, Opaque{PID: o.GetPid(), Container: o.GetContainer(), Executable: o.GetExecutable(), Reason: o.GetReason()})
	}
	return health
}

// counts makes an absent map an empty one, so that readers find {} rather than null.
func counts(m map[string]uint64) map[string]uint64 {
	if m == nil {
		return map[string]uint64{}
	}
	return m
}

// NewCapabilities gives an agent's capabilities their outside shape, in the agent's order.
func NewCapabilities(capabilities []*apiv1.Capability) []Capability {
	all := make([]Capability, 0, len(capabilities))
	for _, c := range capabilities {
		all = append(all, Capability{
			Signal: c.GetSignal(), See: supportName(c.GetSee()), Block: supportName(c.GetBlock()),
			Mechanism: c.GetMechanism(), Reason: c.GetReason(),
		})
	}
	return all
}

// supportName never turns ignorance into a yes: what is not said is unknown.
func supportName(s apiv1.Support) string {
	switch s {
	case apiv1.Support_SUPPORT_YES:
		return SupportYes
	case apiv1.Support_SUPPORT_NO:
		return SupportNo
	default:
		return SupportUnknown
	}
}

// RecordRule says which event classes of which workloads are recorded.
type RecordRule struct {
	// Workload is a shell pattern over namespace/workload/container; empty means every one, the host too.
	Workload string   `json:"workload"`
	Types    []string `json:"types"`
}
