// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/replace"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// policyFile keeps the last record policy and modesFile the last modes, so that an agent that starts while the collector is
// away does what it was asked for.
const (
	policyFile = "record-policy.json"
	modesFile  = "modes.json"
)

// recall hands what was kept to the agent.
func (u *Uplink) recall() {
	if p := (&apiv1.RecordPolicy{}); u.remember(policyFile, "record policy", p) {
		u.policy = p
		u.cfg.OnRecordPolicy(p)
	}
	if m := (&apiv1.ModeSettings{}); u.cfg.OnModes != nil && u.remember(modesFile, "modes", m) {
		u.modes = m
		u.cfg.OnModes(m)
	}
}

// remember reads what was kept into m; it is false if nothing was, or nothing that can be read.
func (u *Uplink) remember(file, what string, m proto.Message) bool {
	err := load(filepath.Join(u.dir, file), m)
	switch {
	case err == nil:
		return true
	case !errors.Is(err, fs.ErrNotExist):
		u.log.Warn("what the collector said last is not known: it is waited for", "what", what, "error", err)
	}
	return false
}

// direct hands a record policy of the collector to the agent, and keeps it.
func (u *Uplink) direct(p *apiv1.RecordPolicy) {
	if p == nil {
		p = &apiv1.RecordPolicy{}
	}
	u.cfg.OnRecordPolicy(p)
	if !proto.Equal(p, u.policy) && u.writeDown(policyFile, "record policy", p) {
		u.policy = p
	}
}

// directModes hands modes of the collector to the agent, and keeps them. A collector that says nothing of modes leaves
// them as they are.
func (u *Uplink) directModes(m *apiv1.ModeSettings) {
	if m == nil || u.cfg.OnModes == nil {
		return
	}
	u.cfg.OnModes(m)
	if !proto.Equal(m, u.modes) && u.writeDown(modesFile, "modes", m) {
		u.modes = m
	}
}

// writeDown keeps what the collector said.
func (u *Uplink) writeDown(file, what string, m proto.Message) bool {
	if err := save(filepath.Join(u.dir, file), m); err != nil {
		u.log.Warn("what the collector said holds until the agent ends: it was not written down", "what", what, "error", err)
		return false
	}
	return true
}

func load(path string, m proto.Message) error {
	text, err := read(path)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, m); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// read reads a file that is no larger than a message.
func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMessage))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

func save(path string, m proto.Message) error {
	text, err := protojson.Marshal(m)
	if err == nil {
		err = replace.File(path, text)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	return nil
}
