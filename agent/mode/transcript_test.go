// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// stage plays a transcript: lines that begin with > are commands, what follows is what they answer.
type stage struct {
	t          *testing.T
	cfg        Config
	controller *Controller
	began, now time.Time
	remote     []Setting
	local      []Setting
	file       map[profile.Key]profile.Modes
	out        *bytes.Buffer
}

func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", play)
}

func play(t *testing.T, text string) string {
	began := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	s := &stage{t: t, began: began, now: began, file: map[profile.Key]profile.Modes{}, out: &bytes.Buffer{}}
	s.cfg.Defaults = profile.Modes{
		profile.SignalProcess: profile.ModeLearn, profile.SignalFile: profile.ModeLearn,
		profile.SignalEgress: profile.ModeLearn, profile.SignalProtect: profile.ModeMonitor,
	}
	s.renew()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		command, ok := strings.CutPrefix(line, "> ")
		if ok || line == "" || line[0] == '#' {
			fmt.Fprintln(s.out, line)
		}
		if ok {
			s.do(strings.Fields(command))
		}
	}
	return s.out.String()
}

func (s *stage) renew() {
	s.t.Helper()
	c, err := New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.controller = c
}

func (s *stage) do(word []string) {
	s.t.Helper()
	c := s.controller
	switch word[0] {
	case "brakes":
		s.brakes(word[1:])
	case "start":
		s.start(word)
	case "stop":
		s.say(c.Stop(s.number(word[1]), s.now), nil)
	case "set", "local":
		s.set(word)
	case "unset":
		s.unset(s.number(word[1]))
	case "file":
		signal, m, _ := strings.Cut(word[2], "=")
		s.file[s.key(word[1])] = profile.Modes{profile.Signal(signal): profile.Mode(m)}
		s.say(c.SetFile(s.file, s.now), nil)
	case "blocked":
		s.say(c.Blocked(s.number(word[1]), profile.Signal(word[2]), s.now), nil)
	case "would":
		c.WouldBlock(s.number(word[1]), profile.Signal(word[2]), s.now)
	case "failed":
		s.say(c.Failed(s.key(word[1]), strings.Join(word[2:], " "), s.now), nil)
	case "learned":
		s.say(c.Learned(s.key(word[1]), profile.Signal(word[2]), profile.State(word[3]), s.now), nil)
	case "forget":
		s.say(c.Forget(s.key(word[1]), s.now), nil)
	case "release":
		s.say(c.Release(s.key(word[1]), profile.Signal(word[2]), s.now), nil)
	case "wait":
		s.now = s.now.Add(s.duration(word[1]))
		s.say(c.Tick(s.now), nil)
	case "next":
		fmt.Fprintln(s.out, "next:", s.clock(c.Next(s.now)))
	case "explain":
		e, ok := c.Explain(s.number(word[1]), profile.Signal(word[2]), s.now)
		fmt.Fprintln(s.out, ok, e)
	case "modes":
		m := c.Modes(s.number(word[1]))
		for _, signal := range profile.Signals() {
			fmt.Fprintf(s.out, "%s=%s ", signal, m[signal])
		}
		fmt.Fprintln(s.out)
	case "restart":
		s.restart()
	default:
		s.t.Fatalf("no command %q", word[0])
	}
}

// restart puts another controller in the place, with the state as JSON has it.
func (s *stage) restart() {
	text, err := json.Marshal(s.controller.Snapshot(s.now))
	if err != nil {
		s.t.Fatal(err)
	}
	s.cfg.State = State{}
	if err := json.Unmarshal(text, &s.cfg.State); err != nil {
		s.t.Fatal(err)
	}
	s.renew()
	s.say(s.controller.SetLocal(s.local, s.now))
	s.say(s.controller.SetCollector(s.remote, s.now))
}

func (s *stage) brakes(word []string) {
	for _, w := range word {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "workloads":
			s.cfg.Brakes.Workloads = int(s.number(value))
		case "canary":
			s.cfg.Brakes.Canary = s.duration(value)
		case "fresh":
			s.cfg.Brakes.Fresh = s.duration(value)
		case "quiet":
			s.cfg.Brakes.Quiet = s.duration(value)
		case "promote":
			s.cfg.Brakes.Promote = true
		default:
			s.t.Fatalf("no brake %q", name)
		}
	}
	s.renew()
}

// start N KEY [pod=UID] [NAME=VALUE …], the last of annotations without holdfast.dev/.
func (s *stage) start(word []string) {
	key := s.key(word[2])
	one := Container{Key: key, Container: &container.Container{
		Kind: container.KindContainer, Cgroup: s.number(word[1]), Namespace: key.Namespace, WorkloadKind: key.Kind,
		Workload: key.Name, Name: key.Container, Annotations: map[string]string{"other": "enforce"},
		OwnerAnnotations: map[string]string{}, NamespaceAnnotations: map[string]string{},
	}}
	for _, w := range word[3:] {
		name, value, _ := strings.Cut(w, "=")
		if name == "pod" {
			one.PodUID = value
			continue
		}
		to := one.Annotations
		if level, rest, ok := strings.Cut(name, ":"); ok {
			to, name = map[string]map[string]string{"owner": one.OwnerAnnotations, "ns": one.NamespaceAnnotations}[level], rest
		}
		to["holdfast.dev/"+name] = value
	}
	s.say(s.controller.Start(one, s.now))
}

// set ID PATTERN SIGNAL|all MODE AUTHOR [DURATION]
func (s *stage) set(word []string) {
	setting := Setting{ID: s.number(word[1]), Workload: word[2], Mode: profile.Mode(word[4]), Author: word[5], Set: s.now}
	if word[3] != "all" {
		setting.Signals = []profile.Signal{profile.Signal(word[3])}
	}
	if len(word) > 6 {
		setting.Until = s.now.Add(s.duration(word[6]))
		setting.Reason = "it burns"
	}
	if word[0] == "local" {
		s.local = append(s.local, setting)
		s.say(s.controller.SetLocal(s.local, s.now))
		return
	}
	s.remote = append(s.remote, setting)
	s.say(s.controller.SetCollector(s.remote, s.now))
}

func (s *stage) unset(id uint64) {
	var rest []Setting
	for _, setting := range s.remote {
		if setting.ID != id {
			rest = append(rest, setting)
		}
	}
	s.remote = rest
	s.say(s.controller.SetCollector(s.remote, s.now))
}

func (s *stage) say(switches []Switch, err error) {
	for _, w := range switches {
		fmt.Fprintf(s.out, "%s %s %d %s: %s -> %s by %s: %s\n",
			s.clock(w.Time), w.Key, w.Cgroup, w.Signal, w.From, w.To, w.Author, w.Reason)
	}
	if err != nil {
		fmt.Fprintln(s.out, "error:", err)
	}
}

func (s *stage) clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Sub(s.began).String()
}

func (s *stage) key(text string) profile.Key {
	s.t.Helper()
	part := strings.Split(text, "/")
	return profile.Key{Namespace: part[0], Kind: "Deployment", Name: part[1], Container: part[2]}
}

func (s *stage) number(text string) uint64 {
	s.t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) duration(text string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}
