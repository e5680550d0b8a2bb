// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

func newProfileTest(a *app) *cobra.Command {
	var events string
	var all bool
	cmd := &cobra.Command{
		Use:   "test FILE --events FILE",
		Short: "Say what a profile would block of recorded events",
		Long: "Hold recorded events against the profiles of a file, as the nodes would if it were the effective one, and say what would\n" +
			"be blocked and why. Nothing is asked of a collector and nothing is changed. Events are JSON, one a line, as 'holdfast\n" +
			"events -o json' and 'holdfast alerts -o json' print them, in the order of their time; - stands for stdin. Record dns,\n" +
			"too, where contacts are listed by name, and fork, so that it is known who runs what.\n\n" +
			"The exit code is 0 if nothing would be blocked, 1 if something would, and 2 if a file cannot be read.",
		Example: "  holdfast events --since 1d -w shop/web -o json > events.ndjson\n" +
			"  holdfast profile test web.yaml --events events.ndjson\n" +
			"  holdfast profile show shop/web -o yaml | holdfast profile test - --events events.ndjson --all -o json",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.local()
			if err != nil {
				return err
			}
			documents, err := readProfiles(a.env.Stdin, args)
			if err != nil {
				return err
			}
			input, name := a.env.Stdin, "stdin"
			if events != stdinName {
				file, err := os.Open(events)
				if err != nil {
					return advise(ExitUsage, fmt.Errorf("events: %w", err), "--events names a file of 'holdfast events -o json'.")
				}
				defer file.Close()
				input, name = file, events
			}
			return s.testProfiles(documents, input, name, all)
		},
	}
	cmd.Flags().StringVar(&events, "events", "", "`FILE` of events as JSON, one a line; - for stdin (required)")
	cmd.Flags().BoolVar(&all, "all", false, "show what is allowed, too")
	requireFlags(cmd, "events")
	return cmd
}

// judged is what is said of a deed.
type judged struct {
	Line    int       `json:"line"`
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	ID      string    `json:"id,omitempty"`
	Process string    `json:"process"`
	What    string    `json:"what"`
	Allowed bool      `json:"allowed"`
	Signal  string    `json:"signal"`
	Reason  string    `json:"reason,omitempty"`
	Why     string    `json:"why,omitempty"`
	// Nearest is the entry that comes closest to allowing it, Missing the fragment of a profile that would.
	Nearest string `json:"nearest,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// tally is the summary of a test.
type tally struct {
	Events  int `json:"events"`
	Allowed int `json:"allowed"`
	Blocked int `json:"blocked"`
	// Others are events of workloads that the file has no profile of, Undecided those that no profile decides about.
	Others    int `json:"others"`
	Undecided int `json:"undecided"`
}

func (s *session) testProfiles(documents []document, input io.Reader, name string, all bool) error {
	judges := map[profile.Key]*judge{}
	for _, d := range documents {
		j, err := newJudge(d.Profile)
		if err != nil {
			return advise(ExitUsage, fmt.Errorf("%s: %w", d.place(), err), "'holdfast profile check' checks files of profiles.")
		}
		judges[d.Profile.Key] = j
	}
	out := s.verdictWriter()
	total, err := s.judgeEvents(judges, input, name, func(v judged) error {
		if v.Allowed && !all {
			return nil
		}
		return out.write(v)
	})
	if err = errors.Join(err, out.flush()); err != nil {
		return err
	}
	if s.format == formatJSON {
		if err := s.writeValue(struct {
			Summary tally `json:"summary"`
		}{total}); err != nil {
			return err
		}
	} else {
		s.note("%s events: %s allowed, %s would be blocked; left out: %s of other workloads, %s that no profile decides about",
			grouped(uint64(total.Events)), grouped(uint64(total.Allowed)), grouped(uint64(total.Blocked)), grouped(uint64(total.Others)),
			grouped(uint64(total.Undecided)))
	}
	if total.Allowed+total.Blocked == 0 && total.Others > 0 {
		s.note("no event is of a workload that %s has a profile of", documents[0].file)
	}
	if total.Blocked > 0 {
		return fmt.Errorf("%d %s would be blocked", total.Blocked, plural(total.Blocked, "event", "events"))
	}
	return nil
}

// verdicts writes verdicts, as a table or as JSON.
type verdicts struct {
	write func(judged) error
	flush func() error
}

func (s *session) verdictWriter() verdicts {
	if s.format == formatJSON {
		return verdicts{write: func(v judged) error { return s.writeValue(v) }, flush: func() error { return nil }}
	}
	columns := []term.Column{
		{Title: "LINE", Right: true}, {Title: "TIME"}, {Title: "TYPE"}, {Title: "VERDICT"}, {Title: "WHAT", Max: 40}, {Title: "WHY"},
	}
	if s.format == formatWide {
		columns[4].Max = 0
		columns = append(columns[:5], term.Column{Title: "PROCESS"}, term.Column{Title: "NEAREST"}, columns[5])
	}
	table := s.table(columns...)
	written := false
	return verdicts{
		write: func(v judged) error {
			written = true
			verdict := term.Cell{Text: "would block", Style: term.Red}
			if v.Allowed {
				verdict = term.Cell{Text: "allowed", Style: term.Green}
			}
			row := []term.Cell{
				{Text: fmt.Sprint(v.Line)}, {Text: s.time(v.Time)}, {Text: v.Type, Style: term.Cyan}, verdict, {Text: v.What},
			}
			if s.format == formatWide {
				row = append(row, term.Cell{Text: v.Process}, term.Cell{Text: dash(v.Nearest)})
			}
			return table.Row(append(row, term.Cell{Text: v.Why})...)
		},
		flush: func() error {
			if !written {
				return nil
			}
			return table.Flush()
		},
	}
}

// judgeEvents reads events and calls each for every one that a profile decides about.
func (s *session) judgeEvents(judges map[profile.Key]*judge, input io.Reader, name string, each func(judged) error) (tally, error) {
	var total tally
	w := newWitness()
	if input == nil {
		return total, nil
	}
	lines := bufio.NewScanner(input)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	for number := 1; lines.Scan(); number++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		e, err := parseEvent(lines.Bytes())
		if err != nil {
			return total, advise(ExitUsage, fmt.Errorf("%s:%d: %w", name, number, err), "Events are what 'holdfast events -o json' prints.")
		}
		total.Events++
		deeds := w.deeds(e)
		j := judges[keyOf(e.Workload)]
		switch {
		case j == nil:
			total.Others++
			continue
		case len(deeds) == 0:
			total.Undecided++
			continue
		}
		v := j.event(e, deeds)
		v.Line = number
		if v.Allowed {
			total.Allowed++
		} else {
			total.Blocked++
		}
		if err := each(v); err != nil {
			return total, err
		}
	}
	if err := lines.Err(); err != nil {
		return total, advise(ExitUsage, fmt.Errorf("%s: %w", name, err), "Events are what 'holdfast events -o json' prints.")
	}
	return total, nil
}

// parseEvent reads an event, or the event of an alert.
func parseEvent(line []byte) (view.Event, error) {
	var e struct {
		view.Event
		Of *view.Occurrence `json:"event"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return view.Event{}, fmt.Errorf("not an event: %w", err)
	}
	if e.Of != nil {
		e.Occurrence = *e.Of
	}
	if e.Type == "" || e.Time.IsZero() {
		return view.Event{}, errors.New("not an event: it has no type or no time")
	}
	return e.Event, nil
}

// judge holds deeds against one profile.
type judge struct {
	*profile.Matcher
	// byPath are the executables that the profile lets run.
	byPath map[string]*profile.Process
}

func newJudge(p *profile.Profile) (*judge, error) {
	matcher, err := profile.NewMatcher(p)
	if err != nil {
		return nil, err
	}
	effective, err := profile.Effective(p, nil)
	if err != nil {
		return nil, err
	}
	j := &judge{Matcher: matcher, byPath: map[string]*profile.Process{}}
	for i := range effective.Processes {
		j.byPath[effective.Processes[i].Path] = &effective.Processes[i]
	}
	return j, nil
}

// event judges all that an event says was done: what is not allowed of it counts.
func (j *judge) event(e view.Event, deeds []profile.Deed) judged {
	v := judged{Time: e.Time, Type: e.Type, ID: e.ID, Process: e.Process.Exe, What: e.Summary(), Allowed: true}
	for _, d := range deeds {
		verdict := j.deed(d)
		v.Signal = string(verdict.Signal)
		if verdict.Allowed {
			continue
		}
		v.Allowed, v.Reason, v.Why = false, string(verdict.Reason), verdict.Why
		if near := verdict.Nearest; near != nil {
			v.Nearest = fmt.Sprintf("%s: %s %s", processTitle(near.Process), kindTitle(near.Kind), near.Text)
		}
		if verdict.Missing != nil {
			v.Missing = string(profile.Encode(verdict.Missing))
		}
		return v
	}
	return v
}

// deed judges a deed. Where the event does not tell all of it, what it may have been counts for it.
func (j *judge) deed(d profile.Deed) profile.Verdict {
	tried := []profile.Deed{d}
	switch {
	case d.Kind == profile.DoExec:
		tried = []profile.Deed{j.complete(d)}
	case d.Kind == profile.DoSocket && d.SocketKind == "":
		tried = tried[:0]
		for _, kind := range socketKinds() {
			d.SocketKind = kind
			tried = append(tried, d)
		}
	case d.Kind == profile.DoListen && chosenPort(d.Port):
		chosen := d
		chosen.Port = 0
		tried = append(tried, chosen)
	}
	first := j.Judge(tried[0])
	for _, other := range tried[1:] {
		if v := j.Judge(other); v.Allowed {
			return v
		}
	}
	return first
}

// chosenPort reports whether the kernel may have chosen a port itself (net.ipv4.ip_local_port_range).
func chosenPort(port uint16) bool {
	return port >= 32768 && port <= 60999
}

// complete fills in what an event does not tell of an exec: a parent and arguments that the profile lists.
func (j *judge) complete(d profile.Deed) profile.Deed {
	p := j.byPath[d.Executable]
	if p == nil {
		p = &profile.Process{}
	}
	if d.Parent == "" && len(p.Parents) > 0 {
		d.Parent = p.Parents[0].Path
	}
	switch {
	case len(d.Arguments) > 0 || d.Withheld:
	case len(p.Arguments) > 0:
		d.Arguments = p.Arguments[0].Shape
	default:
		d.Withheld = true // They are not known: an entry for them would have to allow any.
	}
	return d
}
