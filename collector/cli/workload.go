// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	profilesPath = "/api/v1/profiles"
	// noPart stands in paths for a part that is empty.
	noPart = "-"
	// maxListed is how many names an error lists.
	maxListed = 10
)

// profiles asks for the summaries of the profiles that match a pattern.
func (s *session) profiles(ctx context.Context, pattern string) ([]json.RawMessage, error) {
	query := url.Values{}
	if pattern != "" {
		query.Set("workload", pattern)
	}
	var answer struct {
		Profiles []json.RawMessage `json:"profiles"`
	}
	err := s.get(ctx, profilesPath, query, &answer)
	return answer.Profiles, err
}

// completeWorkload completes the name of a workload by asking the collector; it stays silent where that fails.
func (a *app) completeWorkload(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.open(formatYAML)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	objects, err := s.profiles(cmd.Context(), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, object := range objects {
		var p view.Profile
		if json.Unmarshal(object, &p) == nil {
			names = append(names, p.Workload.String())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// keyOf is the key of a workload's profile.
func keyOf(w view.Workload) profile.Key {
	return profile.Key{Namespace: w.Namespace, Kind: w.Kind, Name: w.Name, Container: w.Container}
}

// workloadOf names a key as the API does.
func workloadOf(k profile.Key) view.Workload {
	return view.Workload{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Container: k.Container}
}

// keyPath is the path of a profile in the API.
func keyPath(k profile.Key) (string, error) {
	path := profilesPath
	for _, part := range []string{k.Namespace, k.Kind, k.Name, k.Container} {
		if part == "" {
			part = noPart
		}
		if part == "." || part == ".." {
			return "", advise(ExitNotFound, fmt.Errorf("there is no profile %s", k), "%s", profileAdvice)
		}
		path += "/" + url.PathEscape(part)
	}
	return path, nil
}

const profileAdvice = "'holdfast profile list' shows the profiles there are. One that is not there yet is named by all its parts,\n" +
	"NAMESPACE/KIND/NAME/CONTAINER, such as shop/Deployment/web/app; outside Kubernetes the namespace is empty."

// find returns whose profile a text names: by all four parts of its key, or as a pattern that only one profile matches.
func (s *session) find(ctx context.Context, text string) (profile.Key, error) {
	if strings.Count(text, "/") == strings.Count(profile.Key{}.String(), "/") {
		key, err := profile.ParseKey(text)
		if err != nil {
			return profile.Key{}, advise(ExitUsage, err, "%s", profileAdvice)
		}
		return key, nil
	}
	objects, err := s.profiles(ctx, text)
	if err != nil {
		return profile.Key{}, err
	}
	var found []profile.Key
	for _, object := range objects {
		var p view.Profile
		if err := json.Unmarshal(object, &p); err != nil {
			return profile.Key{}, s.strange(fmt.Errorf("profile: %w", err))
		}
		found = append(found, keyOf(p.Workload))
	}
	switch len(found) {
	case 0:
		return profile.Key{}, advise(ExitNotFound, fmt.Errorf("no profile matches %q", text), "%s", profileAdvice)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, key := range found[:min(len(found), maxListed)] {
		names = append(names, "  "+term.Escape(shellWord(key.String())))
	}
	if more := len(found) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("  and %d more", more))
	}
	return profile.Key{}, advise(ExitUsage, fmt.Errorf("%d profiles match %q: say which", len(found), text), "%s",
		strings.Join(names, "\n"))
}

// profileCall is a call about one profile.
type profileCall struct {
	*session
	key  profile.Key
	path string
}

// about opens a session for a command about one profile.
func (a *app) about(ctx context.Context, text string, formats ...string) (*profileCall, error) {
	s, err := a.open(formats...)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, advise(ExitUsage, errors.New("no workload named"), "%s", profileAdvice)
	}
	key, err := s.find(ctx, text)
	if err != nil {
		return nil, err
	}
	path, err := keyPath(key)
	if err != nil {
		return nil, err
	}
	return &profileCall{session: s, key: key, path: path}, nil
}
