// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

func newAlertShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Tell the whole story of one alert",
		Long: "Tell the whole story of one alert: what happened, what was done about it, the process and all its ancestors,\n" +
			"the container and its image. With -o wide, Falco's fields too.",
		Example: "  holdfast alerts show ID\n  holdfast alerts show ID -o json | jq .process.ancestors",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			path, err := below(alertsPath, args[0])
			if err != nil {
				return err
			}
			var object json.RawMessage
			if err := s.get(cmd.Context(), path, url.Values{}, &object); err != nil {
				return err
			}
			if s.format == formatJSON {
				return s.writeJSON(object)
			}
			var alert view.Alert
			if err := json.Unmarshal(object, &alert); err != nil {
				return s.strange(fmt.Errorf("alert: %w", err))
			}
			return s.writeStory(alert)
		},
	}
}

// deeds says what the words of Alert.Action mean for who reads an alert.
func deed(action string) string {
	switch action {
	case "alerted":
		return "alerted: seen and reported, not stopped"
	case "would_block":
		return "would block: let through in monitor mode; enforce stops this"
	case "blocked":
		return "blocked: refused in the kernel before it took effect"
	case "killed":
		return "killed: the process was ended before its next instruction"
	default:
		return action
	}
}

func (s *session) writeStory(a view.Alert) error {
	p := s.paper()
	p.line(priorityStyle(a.Priority), "%s: %s", a.Priority, a.Rule)
	if a.Output != "" {
		p.line(term.Plain, "%s", a.Output)
	}

	p.section("Alert")
	p.field("id", "%s", a.ID)
	p.field("time", "%s (%s)", a.Time.In(s.env.Location).Format(timeLayoutWide), s.age(a.Time))
	if !a.Received.IsZero() {
		p.field("stored", "%s", a.Received.In(s.env.Location).Format(timeLayoutWide))
	}
	p.field("done", "%s", deed(a.Action))
	if a.Count > 1 {
		p.field("count", "%s equal deeds", grouped(a.Count))
	}
	p.field("tags", "%s", strings.Join(a.Tags, ", "))

	p.section("Where")
	p.field("node", "%s", a.Node)
	p.workload(a.Workload)
	if a.Container != nil {
		p.container(a.Container)
	}
	if a.Process != nil {
		p.section("Process")
		p.ancestry(a.Process)
		p.process(a.Process)
	}
	p.section("Event")
	p.occurrence(view.Event{Occurrence: a.Event, Process: a.Process})
	if s.format == formatWide {
		p.section("Fields")
		for _, name := range slices.Sorted(maps.Keys(a.OutputFields)) {
			p.line(term.Plain, "  %-26s %v", name, a.OutputFields[name])
		}
	}
	return p.err
}

func (p *paper) workload(w view.Workload) {
	text := w.String()
	if w.Kind != "" && text != "host" {
		text += " (" + w.Kind + ")"
	}
	p.field("workload", "%s", text)
}

func (p *paper) container(c *view.Container) {
	p.field("pod", "%s", c.Pod)
	p.field("container", "%s", strings.TrimSpace(c.Name+" "+c.ID))
	p.field("image", "%s", c.Image)
	p.field("digest", "%s", c.ImageDigest)
	if c.Strayed {
		p.field("strayed", "moved out of its container's cgroup; it is still the container's")
	}
}

// ancestry draws the process under its ancestors, the oldest on top.
func (p *paper) ancestry(process *view.Process) {
	depth := 0
	for _, ancestor := range slices.Backward(process.Ancestors) {
		p.branch(term.Plain, depth, ancestor)
		depth++
	}
	p.branch(term.Bold, depth, *process)
}

// maxIndent is how many levels are drawn deeper and deeper; what is below stands under each other.
const maxIndent = 12

func (p *paper) branch(style term.Style, depth int, process view.Process) {
	indent := "  "
	if depth > 0 {
		indent += strings.Repeat("   ", min(depth, maxIndent)-1) + "└─ "
	}
	exe := ""
	if process.Exe != "" {
		exe = "  " + process.Exe
	}
	p.line(style, "%s%s  pid %d  uid %d%s", indent, process.Cmdline, process.PID, process.UID, exe)
}

func (p *paper) process(process *view.Process) {
	p.field("executable", "%s", strings.Join(append([]string{process.Exe}, process.Flags...), "  "))
	p.field("script", "%s", process.Script)
	p.field("directory", "%s", process.WorkingDir)
	user := fmt.Sprintf("uid %d, gid %d, euid %d", process.UID, process.GID, process.EUID)
	if process.LoginUID != nil {
		user += fmt.Sprintf(", logged in as %d", *process.LoginUID)
	}
	p.field("user", "%s", user)
	p.field("capabilities", "%s", process.Capabilities)
	p.field("terminal", "%s", process.TTY)
	if process.NSPID != 0 {
		p.field("inner pid", "%d", process.NSPID)
	}
	if process.ArgsTruncated {
		p.field("arguments", "cut: %s bytes in all, hash %s", grouped(uint64(process.ArgsBytes)), process.ArgsHash)
	}
}

func (p *paper) occurrence(e view.Event) {
	p.field("type", "%s", e.Type)
	p.field("what", "%s", e.Summary())
	if e.Result != nil && *e.Result == 0 {
		p.field("outcome", "done")
	} else if e.Error != "" {
		p.field("outcome", "%s", e.Error)
	}
	if f := e.File; f != nil {
		p.field("file", "%s", strings.TrimSpace(fmt.Sprintf("mode %s, uid %d, gid %d, %s", dash(f.Mode), f.UID, f.GID, f.Filesystem)))
	}
	if e.Security != nil && e.Security.Target != nil {
		target := e.Security.Target
		p.field("target", "%s  pid %d  uid %d  %s", target.Cmdline, target.PID, target.UID, target.Exe)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
