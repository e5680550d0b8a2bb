// SPDX-License-Identifier: Apache-2.0

package detect_test

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// TestFindingSaysWhatWasDone tells of a finding in a piece that the kernel let go, and in one that it held back.
func TestFindingSaysWhatWasDone(t *testing.T) {
	for flags, want := range map[wire.Flag]struct {
		action apiv1.Action
		words  string
	}{
		0:                {apiv1.Action_ACTION_ALERTED, ": sent to 203.0.113.9 port 80,"},
		wire.FlagBlocked: {apiv1.Action_ACTION_BLOCKED, ": held back from 203.0.113.9 port 80,"},
	} {
		f := &content.Found{Finding: dlp.Finding{Detector: "private-key", Count: 1}}
		f.Piece.Family, f.Piece.RemotePort = 2, 80
		copy(f.Piece.Remote[:], []byte{203, 0, 113, 9})
		f.Piece.Head.Flags = uint16(flags)
		e := new(event.Event)
		e.SetContent(&f.Piece)
		e.Process = child("/usr/bin/curl")
		a := detect.New(detect.Config{}).FindingAlert(f, e)
		if a.GetAction() != want.action || !strings.Contains(a.GetOutput(), want.words) {
			t.Errorf("%v: %s", a.GetAction(), a.GetOutput())
		}
	}
}
