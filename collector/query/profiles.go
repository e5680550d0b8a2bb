// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Profiles is what the API asks of profiles. fleet.Fleet is one; its methods say which errors they return.
type Profiles interface {
	Profiles(ctx context.Context) ([]fleet.Profile, error)
	Profile(ctx context.Context, key profile.Key) (fleet.Profile, error)
	Layer(ctx context.Context, key profile.Key, name fleet.LayerName, node string, version uint64) (fleet.Layer, error)
	OverlayHistory(ctx context.Context, key profile.Key) ([]store.Overlay, error)
	Candidates(ctx context.Context, key profile.Key) ([]profile.Entry, uint64, error)
	Decide(ctx context.Context, key profile.Key, ids []string, approve bool, by fleet.Author) (fleet.Edited, error)
	PutOverlay(ctx context.Context, key profile.Key, text string, base *uint64, by fleet.Author) (fleet.Edited, error)
	Import(ctx context.Context, texts []string, by fleet.Author) ([]fleet.Edited, error)
	Forget(ctx context.Context, key profile.Key, by fleet.Author) (fleet.Edited, error)
}

// maxProfileBytes bounds a body with texts of profiles.
const maxProfileBytes = 16 << 20

// oneProfile is the path of one profile. An empty namespace is written as noNamespace.
const (
	oneProfile  = "/api/v1/profiles/{namespace}/{kind}/{name}/{container}"
	noNamespace = "-"
)

func (s *server) profileRoutes() []route {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	return []route{
		{get, "/api/v1/profiles", store.RoleViewer, []string{"workload"}, s.profiles},
		{get, "/api/v1/profiles/export", store.RoleViewer, []string{"workload", "layer"}, s.exportProfiles},
		{post, "/api/v1/profiles/import", store.RoleAdmin, nil, s.importProfiles},
		{get, oneProfile, store.RoleViewer, []string{"layer", "node", "version"}, s.profile},
		{del, oneProfile, store.RoleAdmin, []string{"reason"}, s.forgetProfile},
		{put, oneProfile + "/overlay", store.RoleAdmin, nil, s.putOverlay},
		{get, oneProfile + "/history", store.RoleViewer, nil, s.overlayHistory},
		{get, oneProfile + "/diff", store.RoleViewer, []string{"from", "to"}, s.diffProfile},
		{get, oneProfile + "/candidates", store.RoleViewer, nil, s.candidates},
		{post, oneProfile + "/approve", store.RoleAdmin, nil, s.decide(true)},
		{post, oneProfile + "/reject", store.RoleAdmin, nil, s.decide(false)},
	}
}

// keyOf is the profile that a path names.
func keyOf(r *http.Request) (profile.Key, error) {
	key := profile.Key{
		Namespace: r.PathValue("namespace"), Kind: r.PathValue("kind"), Name: r.PathValue("name"), Container: r.PathValue("container"),
	}
	if key.Namespace == noNamespace {
		key.Namespace = ""
	}
	if err := key.Validate(); err != nil {
		return key, problemf(http.StatusBadRequest, "the profile's name: %w", err)
	}
	return key, nil
}

func newWorkload(key profile.Key) view.Workload {
	return view.Workload{Namespace: key.Namespace, Kind: key.Kind, Name: key.Name, Container: key.Container}
}

// selection compiles a workload pattern to a predicate over keys.
func selection(pattern string) (func(profile.Key) bool, error) {
	m, err := store.Compile(store.Filter{Workload: pattern})
	if err != nil {
		return nil, err
	}
	return func(key profile.Key) bool { return m.Workload(key.Namespace + "/" + key.Name + "/" + key.Container) }, nil
}

func (s *server) profiles(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	all, err := s.selectProfiles(ctx, p.text("workload"))
	if err != nil {
		return err
	}
	answer := struct {
		Profiles []view.Profile `json:"profiles"`
	}{make([]view.Profile, 0, len(all))}
	for _, p := range all {
		answer.Profiles = append(answer.Profiles, newProfile(p))
	}
	return s.reply(w, r, answer)
}

func (s *server) selectProfiles(ctx context.Context, pattern string) ([]fleet.Profile, error) {
	selected, err := selection(pattern)
	if err != nil {
		return nil, err
	}
	all, err := s.Fleet.Profiles(ctx)
	return slices.DeleteFunc(all, func(p fleet.Profile) bool { return !selected(p.Key) }), err
}

func newProfile(p fleet.Profile) view.Profile {
	v := view.Profile{
		Workload: newWorkload(p.Key), Version: p.Version, Updated: utc(p.Changed), Entries: p.Entries, Candidates: p.Candidates,
		States: newStates(p.States), Nodes: []view.ProfileNode{}, Trouble: p.Trouble, Conflicts: newConflicts(p.Conflicts),
	}
	if p.Overlay.Version > 0 {
		o := newOverlay(p.Overlay)
		o.Action = ""
		v.Overlay = &o
	}
	for _, n := range p.Nodes {
		v.Nodes = append(v.Nodes, view.ProfileNode{
			Node: n.Node, Version: n.Version, Received: utc(n.Received), Entries: n.Entries, States: newStates(n.States),
			Announced: n.Announced, Refused: n.Refused,
		})
	}
	return v
}

func newStates(from map[profile.Signal]profile.State) map[string]string {
	states := map[string]string{}
	for signal, state := range from {
		states[string(signal)] = string(state)
	}
	return states
}

func newOverlay(o store.Overlay) view.Overlay {
	return view.Overlay{
		Version: o.Version, Entries: o.Entries, Time: utc(o.Written), Author: o.Author, Reason: o.Reason, Action: o.Action,
	}
}

// utc is a time as answers show it; zero stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

func (s *server) profile(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	name := fleet.LayerName(p.text("layer"))
	if name == "" {
		name = fleet.LayerEffective
	}
	if (p.text("node") != "") != (name == fleet.LayerObserved) {
		return invalid("node", "layer=observed needs the name of a node, and no other layer takes one")
	}
	version, err := p.number("version", 1, maxVersion)
	if err == nil && version != 0 && name != fleet.LayerOverlay {
		err = invalid("version", "only layer=overlay takes one")
	}
	if err != nil {
		return err
	}
	about, err := s.Fleet.Profile(ctx, key)
	if err != nil {
		return err
	}
	layer, err := s.Fleet.Layer(ctx, key, name, p.text("node"), uint64(version))
	if err != nil {
		return err
	}
	return s.reply(w, r, view.ProfileText{
		Profile: newProfile(about), Layer: string(name), LayerVersion: layer.Version, Text: layer.Text(),
	})
}

// maxVersion is the highest version of an overlay that may be asked for.
const maxVersion = 1 << 31

func (s *server) overlayHistory(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	history, err := s.Fleet.OverlayHistory(ctx, key)
	if err != nil {
		return err
	}
	if len(history) == 0 {
		// Nobody has written anything, which is not to say that there is no such profile.
		if _, err := s.Fleet.Profile(ctx, key); err != nil {
			return err
		}
	}
	answer := struct {
		History []view.Overlay `json:"history"`
	}{make([]view.Overlay, 0, len(history))}
	for _, o := range history {
		answer.History = append(answer.History, newOverlay(o))
	}
	return s.reply(w, r, answer)
}

// diffProfile compares two layers or versions of a profile.
func (s *server) diffProfile(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	from, to := p.text("from"), p.text("to")
	if to == "" {
		to = string(fleet.LayerOverlay)
	}
	if from == "" {
		if from, err = s.before(ctx, key); err != nil {
			return err
		}
	}
	before, err := s.side(ctx, key, "from", from)
	if err != nil {
		return err
	}
	after, err := s.side(ctx, key, "to", to)
	if err != nil {
		return err
	}
	return s.reply(w, r, view.ProfileDiff{From: from, To: to, Changes: newChanges(fleet.Diff(before.Profile, after.Profile))})
}

// before is the version of the overlay before the newest: 0 if there is none.
func (s *server) before(ctx context.Context, key profile.Key) (string, error) {
	history, err := s.Fleet.OverlayHistory(ctx, key)
	if err != nil || len(history) < 2 {
		return "0", err
	}
	return strconv.FormatUint(history[1].Version, 10), nil
}

// side reads one side of a comparison: a layer by its name, or a version of the overlay. Version 0 is the overlay before
// there was one.
func (s *server) side(ctx context.Context, key profile.Key, param, text string) (fleet.Layer, error) {
	switch name := fleet.LayerName(text); name {
	case fleet.LayerEffective, fleet.LayerMerged, fleet.LayerOverlay:
		return s.Fleet.Layer(ctx, key, name, "", 0)
	}
	version, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return fleet.Layer{}, invalid(param, "%q is neither the number of an overlay's version nor effective, merged or overlay", text)
	}
	if version == 0 {
		return fleet.Layer{Name: fleet.LayerOverlay}, nil
	}
	return s.Fleet.Layer(ctx, key, fleet.LayerOverlay, "", version)
}

func newChanges(changes []fleet.Change) []view.Change {
	all := make([]view.Change, 0, len(changes))
	for _, c := range changes {
		v := view.Change{Change: c.What, Kind: string(c.Kind), Process: c.Process, Entry: c.After, Before: c.Before, After: c.After}
		if c.After == "" {
			v.Entry = c.Before
		}
		if c.BeforeOrigin != c.AfterOrigin && c.Before == c.After {
			v.Before, v.After = string(c.BeforeOrigin), string(c.AfterOrigin)
		}
		all = append(all, v)
	}
	return all
}

func newEdited(e fleet.Edited) view.ProfileChange {
	return view.ProfileChange{
		Workload: newWorkload(e.Key), OverlayVersion: e.Overlay, Version: e.Version, Changes: newChanges(e.Changes),
		Object: e.Object,
	}
}

func (s *server) candidates(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	entries, version, err := s.Fleet.Candidates(ctx, key)
	if err != nil {
		return err
	}
	answer := struct {
		OverlayVersion uint64              `json:"overlay_version"`
		Candidates     []view.ProfileEntry `json:"candidates"`
	}{version, make([]view.ProfileEntry, 0, len(entries))}
	for _, e := range entries {
		answer.Candidates = append(answer.Candidates, newEntry(e))
	}
	return s.reply(w, r, answer)
}

func newEntry(e profile.Entry) view.ProfileEntry {
	v := view.ProfileEntry{
		ID: e.ID(), Kind: string(e.Kind), Process: e.Process, Entry: e.Text, Origin: string(e.Seen.Origin), Suspect: string(e.Seen.Suspect),
		First: utc(e.Seen.First), Last: utc(e.Seen.Last), Count: e.Seen.Count,
	}
	for node, n := range e.Seen.Replicas {
		v.Replicas += uint64(n)
		v.Nodes = append(v.Nodes, node)
	}
	slices.Sort(v.Nodes)
	return v
}

// decide answers with what approving, or else rejecting, some candidates has led to.
func (s *server) decide(approve bool) func(http.ResponseWriter, *http.Request, params) error {
	return func(w http.ResponseWriter, r *http.Request, p params) error {
		ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
		defer cancel()
		key, err := keyOf(r)
		if err != nil {
			return err
		}
		var body struct {
			Entries []string `json:"entries"`
			All     bool     `json:"all"`
			Reason  string   `json:"reason"`
		}
		if err := s.decodeWithin(w, r, &body, maxProfileBytes); err != nil {
			return err
		}
		if body.All == (len(body.Entries) > 0) {
			return problemf(http.StatusBadRequest, "give either the ids of entries or all")
		}
		if body.All {
			body.Entries = nil
		}
		edited, err := s.Fleet.Decide(ctx, key, body.Entries, approve, fleet.Author{Name: p.author, Reason: body.Reason})
		if err != nil {
			return err
		}
		return s.reply(w, r, newEdited(edited))
	}
}

func (s *server) putOverlay(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	base, err := baseOf(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	var body struct {
		Text   string `json:"text"`
		Reason string `json:"reason"`
	}
	if err := s.decodeWithin(w, r, &body, maxProfileBytes); err != nil {
		return err
	}
	edited, err := s.Fleet.PutOverlay(ctx, key, body.Text, base, fleet.Author{Name: p.author, Reason: body.Reason})
	if err != nil {
		return err
	}
	return s.reply(w, r, newEdited(edited))
}

// baseOf is the version that an If-Match header names: nil for whatever there is.
func baseOf(match string) (*uint64, error) {
	if match == "*" {
		return nil, nil
	}
	if match == "" {
		return nil, problemf(http.StatusPreconditionRequired,
			`say with If-Match: "N" which version of the overlay you have seen, "0" for none`)
	}
	base, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 63)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, `If-Match: %.40q is neither "N" nor *`, match)
	}
	return &base, nil
}

func (s *server) forgetProfile(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	edited, err := s.Fleet.Forget(ctx, key, fleet.Author{Name: p.author, Reason: p.text("reason")})
	if err != nil {
		return err
	}
	return s.reply(w, r, newEdited(edited))
}

func (s *server) importProfiles(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	var body struct {
		Profiles []string `json:"profiles"`
		Reason   string   `json:"reason"`
	}
	if err := s.decodeWithin(w, r, &body, maxProfileBytes); err != nil {
		return err
	}
	edited, err := s.Fleet.Import(ctx, body.Profiles, fleet.Author{Name: p.author, Reason: body.Reason})
	if err != nil {
		return err
	}
	answer := struct {
		Profiles []view.ProfileChange `json:"profiles"`
	}{make([]view.ProfileChange, 0, len(edited))}
	for _, e := range edited {
		answer.Profiles = append(answer.Profiles, newEdited(e))
	}
	return s.reply(w, r, answer)
}

// exportProfiles writes one layer of many profiles, a line each. Without the last line it was cut off.
func (s *server) exportProfiles(w http.ResponseWriter, r *http.Request, p params) error {
	name := fleet.LayerName(p.text("layer"))
	switch name {
	case "":
		name = fleet.LayerEffective
	case fleet.LayerEffective, fleet.LayerMerged, fleet.LayerOverlay:
	default:
		return invalid("layer", "%q is none of effective, merged and overlay", name)
	}
	all, err := s.selectProfiles(r.Context(), p.text("workload"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	line := func(v view.ProfileExport) error {
		return errors.Join(control.SetWriteDeadline(time.Now().Add(s.Timeout)), encode(w, v))
	}
	for _, p := range all {
		layer, err := s.Fleet.Layer(r.Context(), p.Key, name, "", 0)
		if err != nil {
			s.Log.Error("export of profiles cut off", "profile", p.Key.String(), "error", err)
			return nil
		}
		if layer.Profile == nil {
			continue
		}
		if err := line(view.ProfileExport{Workload: newWorkload(p.Key), Layer: string(name), Version: layer.Version, Text: layer.Text()}); err != nil {
			return nil // Nobody is there any more.
		}
	}
	if err := line(view.ProfileExport{End: true}); err != nil {
		return nil
	}
	return control.SetWriteDeadline(time.Time{})
}
