// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Modes is what the API asks of modes. fleet.Fleet is one; its methods say which errors they return.
type Modes interface {
	Modes(ctx context.Context) ([]store.ModeSetting, uint64, error)
	ModesOf(ctx context.Context, namespace, workload, container string) ([]store.ModeSetting, uint64, error)
	ModeHistory(ctx context.Context, limit int) ([]store.ModeSetting, error)
	SetMode(ctx context.Context, s store.ModeSetting, by fleet.Author) (set store.ModeSetting, replaced []store.ModeSetting, version uint64, err error)
	ClearMode(ctx context.Context, id uint64, by fleet.Author) (store.ModeSetting, uint64, error)
	ObjectConflicts() []fleet.ObjectConflict
}

// maxHistory is how many mode settings a history shows.
const maxHistory = 1000

func (s *server) modeRoutes() []route {
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	return []route{
		{get, "/api/v1/modes", store.RoleViewer, []string{"workload"}, s.modes},
		{post, "/api/v1/modes", store.RoleAdmin, nil, s.setMode},
		{del, "/api/v1/modes/{id}", store.RoleAdmin, []string{"reason"}, s.clearMode},
		{get, "/api/v1/modes/history", store.RoleViewer, nil, s.modeHistory},
		{get, "/api/v1/modes/switches", store.RoleViewer, []string{"workload", "node"}, s.switches},
		{get, "/api/v1/workloads", store.RoleViewer, []string{"workload", "node"}, s.workloads},
	}
}

func newMode(m store.ModeSetting) view.ModeSetting {
	v := view.ModeSetting{
		ID: m.ID, Workload: m.Workload, Signals: []string{}, Mode: string(m.Mode), Author: m.Author, Reason: m.Reason,
		Set: utc(m.Set), Until: utc(m.Until), Ended: utc(m.Ended), EndedBy: m.EndedBy, EndReason: m.EndReason,
	}
	for _, signal := range m.Signals {
		v.Signals = append(v.Signals, string(signal))
	}
	return v
}

func newModes(all []store.ModeSetting) []view.ModeSetting {
	modes := make([]view.ModeSetting, 0, len(all))
	for _, m := range all {
		modes = append(modes, newMode(m))
	}
	return modes
}

// modes answers with the settings that hold, the newest first, or with those about one workload's container, the one that
// counts first.
func (s *server) modes(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, version, err := s.modesAbout(ctx, p.text("workload"))
	if err != nil {
		return err
	}
	return s.reply(w, r, struct {
		Version  uint64             `json:"version"`
		Settings []view.ModeSetting `json:"settings"`
		// Conflicts are about all workloads, whichever was asked for.
		Conflicts []view.Conflict `json:"conflicts,omitempty"`
	}{version, newModes(all), newConflicts(s.modeConflicts(nil))})
}

// modeConflicts are the conflicts of objects about modes: all, or those whose pattern is about one of the workloads.
func (s *server) modeConflicts(about []view.WorkloadState) []fleet.ObjectConflict {
	return slices.DeleteFunc(s.Fleet.ObjectConflicts(), func(c fleet.ObjectConflict) bool {
		if c.Workload == "" || about == nil {
			return c.Workload == ""
		}
		selected, err := selection(c.Workload)
		return err != nil || !slices.ContainsFunc(about, func(w view.WorkloadState) bool { return selected(keyFor(w.Workload)) })
	})
}

func keyFor(w view.Workload) profile.Key {
	return profile.Key{Namespace: w.Namespace, Kind: w.Kind, Name: w.Name, Container: w.Container}
}

func newConflicts(all []fleet.ObjectConflict) []view.Conflict {
	var conflicts []view.Conflict
	for _, c := range all {
		conflicts = append(conflicts, view.Conflict{Object: c.Object, Workload: c.Workload, Message: c.Message})
	}
	return conflicts
}

func (s *server) modesAbout(ctx context.Context, name string) ([]store.ModeSetting, uint64, error) {
	if name == "" {
		all, version, err := s.Fleet.Modes(ctx)
		slices.Reverse(all)
		return all, version, err
	}
	part := strings.Split(name, "/")
	if len(part) != 3 {
		return nil, 0, invalid("workload", "%.80q is not namespace/workload/container", name)
	}
	return s.Fleet.ModesOf(ctx, part[0], part[1], part[2])
}

func (s *server) modeHistory(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, err := s.Fleet.ModeHistory(ctx, maxHistory)
	if err != nil {
		return err
	}
	return s.reply(w, r, struct {
		History []view.ModeSetting `json:"history"`
	}{newModes(all)})
}

func (s *server) setMode(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	var body view.ModeRequest
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	setting := store.ModeSetting{Workload: body.Workload, Mode: profile.Mode(body.Mode), Until: body.Until}
	for _, name := range body.Signals {
		setting.Signals = append(setting.Signals, profile.Signal(name))
	}
	if body.For != "" {
		length, err := parseAge(body.For)
		if err != nil || length <= 0 || !body.Until.IsZero() {
			return problemf(http.StatusBadRequest, "for: %.40q is not a length of time such as 30m or 2h, or until is given too", body.For)
		}
		setting.Until = time.Now().Add(length)
	}
	set, replaced, version, err := s.Fleet.SetMode(ctx, setting, fleet.Author{Name: p.author, Reason: body.Reason})
	if err != nil {
		return err
	}
	return s.reply(w, r, view.ModeChange{Version: version, Setting: newMode(set), Replaced: newModes(replaced)})
}

func (s *server) clearMode(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 63)
	if err != nil {
		return problemf(http.StatusNotFound, "there is no mode setting %.40q", r.PathValue("id"))
	}
	ended, version, err := s.Fleet.ClearMode(ctx, id, fleet.Author{Name: p.author, Reason: p.text("reason")})
	if err != nil {
		return err
	}
	return s.reply(w, r, view.ModeChange{Version: version, Setting: newMode(ended)})
}

// eachNode calls a function for every node that is asked for, with a predicate over the keys that are.
func (s *server) eachNode(ctx context.Context, p params, do func(fleet.Node, func(profile.Key) bool)) error {
	selected, err := selection(p.text("workload"))
	if err != nil {
		return err
	}
	nodes, err := s.Fleet.Nodes(ctx)
	if err != nil {
		return err
	}
	found := p.text("node") == ""
	for _, n := range nodes {
		if p.text("node") == "" || p.text("node") == n.Name {
			do(n, selected)
			found = true
		}
	}
	if !found {
		return problemf(http.StatusNotFound, "node %q: %w", p.text("node"), store.ErrNotFound)
	}
	return nil
}

// switches answers with the changes of modes that nodes tell of.
func (s *server) switches(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all := []view.ModeSwitch{}
	err := s.eachNode(ctx, p, func(n fleet.Node, selected func(profile.Key) bool) {
		for _, m := range n.Health.GetSwitches() {
			key := keyFrom(m.GetKey())
			if !selected(key) {
				continue
			}
			all = append(all, view.ModeSwitch{
				Time: time.Unix(0, m.GetTimeNs()).UTC(), Node: n.Name, Workload: newWorkload(key), Signal: m.GetSignal(),
				From: m.GetFrom(), To: m.GetTo(), Author: m.GetAuthor(), Reason: m.GetReason(),
			})
		}
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b view.ModeSwitch) int { return b.Time.Compare(a.Time) })
	return s.reply(w, r, struct {
		Switches []view.ModeSwitch `json:"switches"`
	}{all})
}

// workloads answers with what every node does for every workload.
func (s *server) workloads(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all := []view.WorkloadState{}
	err := s.eachNode(ctx, p, func(n fleet.Node, selected func(profile.Key) bool) {
		for _, state := range n.Health.GetWorkloads() {
			if selected(keyFrom(state.GetKey())) {
				all = append(all, newWorkloadState(n, state))
			}
		}
	})
	if err != nil {
		return err
	}
	return s.reply(w, r, struct {
		Workloads []view.WorkloadState `json:"workloads"`
		Conflicts []view.Conflict      `json:"conflicts,omitempty"`
	}{all, newConflicts(s.modeConflicts(all))})
}

func newWorkloadState(n fleet.Node, from *apiv1.WorkloadState) view.WorkloadState {
	v := view.WorkloadState{
		Node: n.Name, Connected: n.Connected, Workload: newWorkload(keyFrom(from.GetKey())), ProfileVersion: from.GetProfileVersion(),
		Containers: from.GetContainers(), Known: from.GetKnown(), Learned: from.GetLearned(), WouldBlock: from.GetWouldBlock(),
		Blocked: from.GetBlocked(), Signals: []view.SignalState{},
	}
	if at := from.GetLastBlockNs(); at != 0 {
		v.LastBlock = time.Unix(0, at).UTC()
	}
	for _, signal := range from.GetSignals() {
		v.Signals = append(v.Signals, view.SignalState{
			Signal: signal.GetSignal(), Mode: signal.GetMode(), Source: signal.GetSource(), State: signal.GetState(),
		})
	}
	return v
}

func keyFrom(k *apiv1.ProfileKey) profile.Key {
	return profile.Key{Namespace: k.GetNamespace(), Kind: k.GetKind(), Name: k.GetName(), Container: k.GetContainer()}
}
