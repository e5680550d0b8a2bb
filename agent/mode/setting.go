// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/workload"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Annotation is the annotation of a pod, of the workload that owns it or of its namespace by which it asks for a mode; with
// a dot and a signal after it, for one signal.
const Annotation = "holdfast.dev/mode"

// MaxSettings is how many settings are taken.
const MaxSettings = 4096

// Setting is a mode that a person set.
type Setting struct {
	// ID tells settings of one origin apart; a later one is higher.
	ID uint64
	// Workload is a pattern over namespace/workload/container as docs/workloads.md has them; empty means every one.
	Workload string
	// Signals are those that it is about; none means all that are about deeds.
	Signals []profile.Signal
	Mode    profile.Mode
	Author  string
	Reason  string
	Set     time.Time
	// Until is when it ends. With an end it lies over everything else: it is a break-glass.
	Until time.Time
	// Local says that it was set on this node and not on the collector.
	Local bool
}

// covers reports whether the setting is about a signal.
func (s *Setting) covers(signal profile.Signal) bool {
	if len(s.Signals) == 0 {
		return !signal.Content()
	}
	return slices.Contains(s.Signals, signal)
}

// exact reports whether the setting names one workload.
func (s *Setting) exact() bool { return profile.NamesOne(s.Workload) }

// rank is what tells whether the setting counts before others.
func (s *Setting) rank() profile.Setting {
	return profile.Setting{Workload: s.Workload, Set: s.Set, ID: s.ID, Until: s.Until}
}

// String names the setting for people.
func (s *Setting) String() string {
	where := "collector"
	if s.Local {
		where = "local"
	}
	text := fmt.Sprintf("%s setting %d for %q by %q", where, s.ID, s.Workload, s.Author)
	if !s.Until.IsZero() {
		text += " until " + s.Until.UTC().Format(time.RFC3339)
	}
	if s.Reason != "" {
		text += fmt.Sprintf(" (%q)", s.Reason)
	}
	return text
}

// compiled is a setting that can be matched.
type compiled struct {
	Setting
	pattern workload.Pattern
}

// compile checks settings. What is wrong with one is in the error, and the others hold.
func compile(settings []Setting) ([]compiled, error) {
	var errs []error
	list := make([]compiled, 0, len(settings))
	for _, s := range settings {
		pattern, err := workload.Compile(s.Workload)
		if _, modeErr := profile.ParseMode(string(s.Mode)); modeErr != nil {
			err = errors.Join(err, modeErr)
		}
		for _, signal := range s.Signals {
			_, signalErr := profile.ParseSignal(string(signal))
			err = errors.Join(err, signalErr, profile.CheckMode(signal, s.Mode))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mode setting %d is ignored: %w", s.ID, err))
			continue
		}
		list = append(list, compiled{s, pattern})
	}
	return list, errors.Join(errs...)
}

// ParseAnnotations reads the modes that the annotations of a pod ask for: by signal, and for the signals about deeds that
// have none of their own. What is wrong is in the error, and counts as if it were not there.
func ParseAnnotations(annotations map[string]string) (profile.Modes, error) {
	var errs []error
	modes := profile.Modes{}
	general := profile.Mode("")
	for _, name := range sorted(annotations) {
		signal, isSignal := strings.CutPrefix(name, Annotation+".")
		if name != Annotation && !isSignal {
			continue
		}
		m, err := profile.ParseMode(annotations[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %q is ignored: %w", name, err))
			continue
		}
		if !isSignal {
			general = m
			continue
		}
		s, err := profile.ParseSignal(signal)
		if err = errors.Join(err, profile.CheckMode(s, m)); err != nil {
			errs = append(errs, fmt.Errorf("annotation %q is ignored: %w", name, err))
			continue
		}
		modes[s] = m
	}
	if general != "" {
		for _, s := range profile.Deeds() {
			if _, ok := modes[s]; !ok {
				modes[s] = general
			}
		}
	}
	return modes, errors.Join(errs...)
}

// annotated are the modes that the annotations of one object ask for.
type annotated struct {
	// of names the object.
	of    string
	modes profile.Modes
}

// annotations reads what a container's pod, the pod's owner and its namespace ask for, in this order: who is closer to the
// container goes before. What means nothing is in the error, and the rest holds.
func annotations(one Container) ([]annotated, error) {
	var list []annotated
	var errs []error
	for _, object := range []struct {
		of   string
		says map[string]string
	}{
		{"the pod", one.Annotations},
		{"the owner " + one.WorkloadKind + " " + one.Workload, one.OwnerAnnotations},
		{"the namespace " + one.Namespace, one.NamespaceAnnotations},
	} {
		modes, err := ParseAnnotations(object.says)
		if err != nil {
			errs = append(errs, fmt.Errorf("container %s: %s: %w", one.Key, object.of, err))
		}
		if len(modes) > 0 {
			list = append(list, annotated{object.of, modes})
		}
	}
	return list, errors.Join(errs...)
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Container is a container whose modes are decided.
type Container struct {
	*container.Container
	// Key is what its profile is of.
	Key profile.Key
}
