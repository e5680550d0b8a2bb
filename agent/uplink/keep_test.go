// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestDiskRefuses enrols while the identity cannot be written down. The token may be good for one use only, so the node
// connects, and writes it down when the disk takes it.
func TestDiskRefuses(t *testing.T) {
	authority := newCA(t)
	var enrolled atomic.Int32
	p := &peer{
		enrol: func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			enrolled.Add(1)
			csr, err := x509.ParseCertificateRequest(r.GetCsr())
			if err != nil {
				return nil, err
			}
			der, err := authority.signPublic(csr.PublicKey, forNode(r.GetNode()))
			return &apiv1.Certificate{Chain: [][]byte{der}, Roots: [][]byte{authority.cert.Raw}}, err
		},
		connect: func(s apiv1.Uplink_ConnectServer) error {
			if _, err := accept(s, 1); err != nil {
				return err
			}
			return incoming(s, apiv1.Lane_LANE_ALERTS, make(chan *apiv1.Batch, 1))
		},
	}
	servePeer(t, p, authority.server())
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hfj_id_secret_"+authority.pin()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, p.address, nil, func(c *Config) { c.JoinTokenFile = token })
	r.timing.slow = 20 * time.Millisecond
	// A file where the directory should be: nothing can be written, whoever tries.
	if err := os.WriteFile(r.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.run()
	wait.Until(t, patience, func() error {
		if s := r.Stats(); !s.Connected {
			return fmt.Errorf("stats: %+v", s)
		}
		return nil
	})
	if !strings.Contains(r.log.String(), "not written down") {
		t.Errorf("the log does not tell of it:\n%s", r.log)
	}
	if err := os.Remove(r.dir); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, func() error {
		id, err := loadIdentity(r.dir)
		if err == nil && !id.leaf.Equal(r.current().leaf) {
			err = errors.New("it is another one")
		}
		return err
	})
	if n := enrolled.Load(); n != 1 {
		t.Errorf("enrolled %d times", n)
	}
}

// TestPolicyIsKept restarts an agent while the collector is away: it goes on with the last record policy.
func TestPolicyIsKept(t *testing.T) {
	authority := newCA(t)
	want := &apiv1.RecordPolicy{Rules: []*apiv1.RecordRule{{Workload: "shop/*", Types: []string{"exec", "open"}}}}
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 1); err != nil {
			return err
		}
		if err := s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Record{Record: want}}); err != nil {
			return err
		}
		return incoming(s, apiv1.Lane_LANE_ALERTS, make(chan *apiv1.Batch, 1))
	}}
	servePeer(t, p, authority.server())
	got := make(chan *apiv1.RecordPolicy, 10)
	take := func(c *Config) { c.OnRecordPolicy = func(p *apiv1.RecordPolicy) { got <- p } }
	first := newRig(t, p.address, authority.node("node-1"), take)
	first.run()
	if p := <-got; len(p.GetRules()) != 0 {
		t.Errorf("the welcome had no policy, and the agent got %v", p)
	}
	if p := <-got; !proto.Equal(p, want) {
		t.Errorf("policy %v, expected %v", p, want)
	}
	wait.Until(t, patience, func() error {
		kept := &apiv1.RecordPolicy{}
		err := load(filepath.Join(first.dir, policyFile), kept)
		if err == nil && !proto.Equal(kept, want) {
			err = fmt.Errorf("kept %v", kept)
		}
		return err
	})
	first.stop()

	second := newRig(t, "127.0.0.1:1", authority.node("node-1"), take)
	second.dir = first.dir
	second.run()
	if p := <-got; !proto.Equal(p, want) {
		t.Errorf("policy after a restart %v, expected %v", p, want)
	}
	second.stop()

	if err := os.WriteFile(filepath.Join(first.dir, policyFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := newRig(t, "127.0.0.1:1", authority.node("node-1"), take)
	third.dir = first.dir
	third.run()
	third.fails(nil, "refused")
	if len(got) != 0 || !strings.Contains(third.log.String(), policyFile) {
		t.Errorf("a damaged policy: %d were given, and the log says\n%s", len(got), third.log)
	}
}
