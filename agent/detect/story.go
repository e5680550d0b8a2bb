// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/redact"
)

// storyOutput is the line for people of a finding that rests on more than one text, without who it was; empty for one that
// does not.
func storyOutput(f *content.Found) string {
	switch f.Reason {
	case dlp.Taint, dlp.ArchiveSend, dlp.Upload:
		if f.File == "" {
			return fmt.Sprintf("%d bytes in a minute sent to %s, which gives to anybody what it is sent,", f.Bytes, destination(f))
		}
		return labelledFile(f) + chain(f) + ","
	case dlp.FileMatch:
		return labelledFile(f) + "found in what was sent to " + destination(f) + chain(f) + ","
	case dlp.VolumeUnusual:
		return fmt.Sprintf("%d bytes in a minute %s%s, where %d is much,", f.Bytes, verb(f), destination(f), f.Usual)
	case dlp.SlowLeak:
		return fmt.Sprintf("%d bytes in a day %s%s, where %d is much,", f.Bytes, verb(f), destination(f), f.Usual)
	case dlp.DNSTunnel:
		return fmt.Sprintf("%d different names below %s with %d bytes in them asked for,", f.Distinct, clean(f.Peer.Host), f.Bytes)
	case dlp.ICMPVolume:
		return fmt.Sprintf("%d bytes in %d pings sent to %s,", f.Bytes, f.Count, f.Peer.Addr.Addr())
	case dlp.AttackFollowed:
		return fmt.Sprintf("%s (%s) in a request for %s from %s, and then what the profile does not list%s,", f.Class, f.Detector,
			clean(f.Path), f.Peer.Addr, chain(f))
	}
	return ""
}

func verb(f *content.Found) string {
	if f.Inbound {
		return "served to "
	}
	return "sent to "
}

func labelledFile(f *content.Found) string {
	return fmt.Sprintf("Labelled file %s (%s): ", clean(redact.Text(f.File)), clean(f.Label))
}

// destination names the other end. That of a server's answers is whoever asks.
func destination(f *content.Found) string {
	switch {
	case f.Inbound:
		return "clients"
	case f.Peer.Host == "":
		return f.Peer.Addr.String()
	case !f.Peer.Addr.IsValid():
		return clean(f.Peer.Host)
	}
	return fmt.Sprintf("%s (%s)", clean(f.Peer.Host), f.Peer.Addr)
}

// chain tells how it came, oldest first, with the time since the first step. Of what was sent it says how much.
func chain(f *content.Found) string {
	var b strings.Builder
	for i, s := range f.Chain {
		switch {
		case i > 0:
			b.WriteString("; ")
		case f.Reason == dlp.FileMatch, f.Reason == dlp.AttackFollowed:
			b.WriteString(": ")
		}
		if after := time.Duration(s.Time - f.Chain[0].Time).Round(time.Millisecond); i > 0 && after > 0 {
			fmt.Fprintf(&b, "after %s ", after)
		}
		b.WriteString(step(f, &s))
	}
	return b.String()
}

func step(f *content.Found, s *dlp.Step) string {
	by := "an unknown program"
	if s.Executable != "" {
		by = clean(s.Executable)
	}
	by = fmt.Sprintf("%s (pid %d)", by, s.Process.PID)
	object := clean(redact.Text(s.Object))
	switch s.What {
	case "read":
		return object + " read by " + by
	case "packed":
		return "packed by " + by
	case "wrote":
		return object + " written by " + by
	case "sent":
		object = clean(redact.Name(s.Object))
		if f.Reason == dlp.FileMatch {
			return fmt.Sprintf("sent to %s by %s", object, by)
		}
		return fmt.Sprintf("%d bytes sent to %s by %s", f.Bytes, object, by)
	case "attack":
		return "the request to " + by
	}
	return fmt.Sprintf("%s of %s by %s", s.What, object, by)
}
