// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestOneSecretOverManyChannels has programs of a container send the same token in all the ways of channels: for each there is
// an alert that says which program sent it where, what it is, and how it was wrapped up. Neither these nor anything else that
// the agent or the collector keeps holds the token.
func TestOneSecretOverManyChannels(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--dlp-mode", "monitor"}})
	token := newToken()
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(token+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mounts := []lab.Mount{{HostPath: secret, ContainerPath: secretPath, ReadOnly: true}}
	if err := r.Lab.Import(t.Context(), leakyImage(t)); err != nil {
		t.Fatal(err)
	}
	taker(t, r)
	runs := runsJava(t, r, mounts)
	c := run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "leaky"}), lab.ContainerConfig{
		Name: "app", Image: leakyName, Command: []string{"sleep", "100000"}, Mounts: mounts,
	})
	told := sendAll(t, r, c)
	var hashes []string
	for i, ch := range channels {
		t.Run(ch.name, func(t *testing.T) {
			a := told[i]
			if a == nil {
				t.Fatal("no alert")
			}
			t.Log(a.Output)
			ch.check(t, a, c, token)
			hashes = append(hashes, a.Finding.Hashes...)
		})
	}
	if len(slices.Compact(hashes)) != 1 {
		t.Errorf("the hashes of one value: %v", hashes)
	}
	t.Run("java", func(t *testing.T) { javaIsOpaque(t, r, runs) })
	keepsNone(t, r, token)
}

// newToken is a token of GitHub's form that nobody has: 30 random digits and their checksum.
func newToken() string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := rand.Text() + rand.Text()[:4]
	sum := crc32.ChecksumIEEE([]byte(body))
	check := make([]byte, 6)
	for i := range check {
		check[5-i], sum = digits[sum%62], sum/62
	}
	return "ghp_" + body + string(check)
}

// masked is what may be shown of a token.
func masked(token string) string { return "ghp_********" + token[len(token)-2:] }

// sendAll has the container send over each channel until there is an alert of each, and gives them in the order of channels.
func sendAll(t *testing.T, r *rig.Rig, c *lab.Container) []*view.Alert {
	t.Helper()
	told := make([]*view.Alert, len(channels))
	err := wait.For(t.Context(), 90*time.Second, func() error {
		// Programs have their probes soon after they begin; the first of a program that nobody knows may be quicker.
		for i, ch := range channels {
			if told[i] != nil {
				continue
			}
			if got, err := c.Exec(t.Context(), ch.command(r)...); err != nil || got.Code != 0 {
				t.Fatalf("%s: %v: %+v", ch.name, err, got)
			}
		}
		return wait.For(t.Context(), 3*time.Second, func() error { return look(t, r, told) })
	})
	if err != nil {
		t.Error(err)
	}
	return told
}

// look finds the alerts of the channels, and names the channels that have none.
func look(t *testing.T, r *rig.Rig, told []*view.Alert) error {
	alerts, err := r.Alerts(t.Context(), "--rule", "Sensitive data sent")
	if err != nil {
		return err
	}
	var missing []error
	for i, ch := range channels {
		for _, a := range alerts {
			if a.Finding != nil && a.Event.Network != nil && a.Event.Network.RemoteAddress == ch.address(r) && slices.Equal(a.Finding.Layers, ch.layers) {
				told[i] = &a
			}
		}
		if told[i] == nil {
			missing = append(missing, fmt.Errorf("%s: no alert", ch.name))
		}
	}
	return errors.Join(missing...)
}

// check holds an alert against what was sent.
func (ch *channel) check(t *testing.T, a *view.Alert, c *lab.Container, token string) {
	t.Helper()
	f := a.Finding
	if f.Detector != "github-token" || f.Class != "credential" || f.Reason != "content" || f.Direction != "outbound" || f.Accepted {
		t.Errorf("finding %+v", f)
	}
	if want := masked(token); !slices.Contains(f.Masked, want) || !strings.Contains(a.Output, want) {
		t.Errorf("masked as %q, want %q, in %q", f.Masked, want, a.Output)
	}
	if f.Source != ch.source || f.Application != ch.application || f.Part != ch.part {
		t.Errorf("read by %s as %s of %s, want %s as %s of %s", f.Source, f.Part, f.Application, ch.source, ch.part, ch.application)
	}
	if a.Workload.Namespace != "shop" || a.Workload.Name != "leaky" || a.Container.Name != "app" || a.Container.ID != c.ID {
		t.Errorf("container %+v of %+v", a.Container, a.Workload)
	}
	if !strings.HasPrefix(a.Process.Exe, ch.program) || a.Process.PID == 0 {
		t.Errorf("process %+v, want one of %s", a.Process, ch.program)
	}
	if n := a.Event.Network; ch.port != 0 && int(n.RemotePort) != ch.port {
		t.Errorf("network %+v, want port %d", n, ch.port)
	}
}

// keepsNone checks that nothing that agent and collector keep or tell holds the token, whole or as it was cut into labels, in any
// case.
func keepsNone(t *testing.T, r *rig.Rig, token string) {
	t.Helper()
	words := []string{token, token[:labelCut], token[labelCut:]}
	for _, word := range words {
		words = append(words, strings.ToLower(word))
	}
	quiesce(t, r, 20*time.Second)
	for _, args := range [][]string{{"alerts"}, {"nodes"}, {"profile", "show", "shop/leaky"}} {
		out, err := r.Holdfast(t.Context(), append(args, "-o", "json")...).Output()
		if err != nil {
			t.Errorf("holdfast %s: %v", args[0], err)
		}
		for _, word := range words {
			if strings.Contains(string(out), word) {
				t.Errorf("holdfast %s tells %s", args[0], word)
			}
		}
	}
	holdsNone(t, r.Dir, words)
	// What may be kept is found in the same way.
	if len(holders(t, r.CollectorDir(), masked(token))) == 0 {
		t.Error("the collector keeps no alert in which the token is masked")
	}
}
