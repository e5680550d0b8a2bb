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

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// policyFile keeps the last record policy, so that an agent that starts while the collector is away records what it was
// asked for.
const policyFile = "record-policy.json"

// recall hands the record policy that was kept to the agent.
func (u *Uplink) recall() {
	p, err := loadPolicy(filepath.Join(u.dir, policyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		u.log.Warn("the last record policy is not known: the collector's is waited for", "error", err)
		return
	}
	u.policy = p
	u.cfg.OnRecordPolicy(p)
}

// direct hands a record policy of the collector to the agent, and keeps it.
func (u *Uplink) direct(p *apiv1.RecordPolicy) {
	if p == nil {
		p = &apiv1.RecordPolicy{}
	}
	u.cfg.OnRecordPolicy(p)
	if proto.Equal(p, u.policy) {
		return
	}
	if err := savePolicy(filepath.Join(u.dir, policyFile), p); err != nil {
		u.log.Warn("the record policy holds until the agent ends: it was not written down", "error", err)
		return
	}
	u.policy = p
}

func loadPolicy(path string) (*apiv1.RecordPolicy, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the record policy: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMessage))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read the record policy: %w", err)
	}
	p := &apiv1.RecordPolicy{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read the record policy: %s: %w", path, err)
	}
	return p, nil
}

func savePolicy(path string, p *apiv1.RecordPolicy) error {
	text, err := protojson.Marshal(p)
	if err == nil {
		err = replace(path, text)
	}
	if err != nil {
		return fmt.Errorf("keep the record policy: %w", err)
	}
	return nil
}
