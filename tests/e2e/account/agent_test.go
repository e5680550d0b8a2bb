// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package account_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/uplink"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// agent is an uplink as the agent runs it, with the files that a pod has.
type agent struct {
	*uplink.Uplink
	dir, token, ca string
	alerts         *spool.Spool
	log            *collectortest.Log
	stop           func()
}

// startAgent runs an uplink in a directory, which may have been another's before. Its files need not be there yet.
func startAgent(t *testing.T, dir, node, address string) *agent {
	t.Helper()
	a := &agent{dir: dir, token: filepath.Join(dir, "token"), ca: filepath.Join(dir, "ca.pem"), log: &collectortest.Log{}}
	spools := map[string]*spool.Spool{}
	for _, lane := range []string{"alerts", "records"} {
		s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, lane), SyncEvery: 5 * time.Millisecond})
		check(t, err)
		spools[lane] = s
	}
	a.alerts = spools["alerts"]
	var err error
	a.Uplink, err = uplink.New(uplink.Config{
		Address: address, Node: node, DataDir: dir, ServiceAccountTokenFile: a.token, CollectorCAFile: a.ca,
		Alerts: spools["alerts"], Records: spools["records"],
		Hello:          func() *apiv1.Hello { return &apiv1.Hello{AgentVersion: "test"} },
		Health:         func() *apiv1.Health { return &apiv1.Health{TimeNs: time.Now().UnixNano()} },
		OnRecordPolicy: func(*apiv1.RecordPolicy) {}, Tails: tail.New(), Logger: slog.New(slog.NewTextHandler(a.log, nil)),
	})
	check(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{spools["alerts"].Run, spools["records"].Run, a.Run} {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("agent: %v", err)
			}
		})
	}
	a.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		for _, s := range spools {
			check(t, s.Close())
		}
	})
	t.Cleanup(a.stop)
	return a
}

// mount puts a file in place as the kubelet does.
func mount(t *testing.T, path string, text []byte) {
	t.Helper()
	check(t, os.WriteFile(path+".new", text, 0o600))
	check(t, os.Rename(path+".new", path))
}

// waits waits until the last attempt has failed for a reason.
func (a *agent) waits(t *testing.T, says string) {
	t.Helper()
	wait.Until(t, patience, func() error {
		if err := a.Stats().LastError; err == nil || !strings.Contains(err.Error(), says) {
			return fmt.Errorf("last error is %v, expected %q", err, says)
		}
		return nil
	})
}

// TestAgent enrols the agent's own uplink: it waits for its files, then for an API server that is away, and then reports. It
// needs the API server no more after that, until its certificate has run out.
func TestAgent(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, collectorUser)
	pod := cluster.pod("agent-1", agentAccount, "worker-1")
	dir := t.TempDir()
	a := startAgent(t, dir, "worker-1", c.GRPCAddr().String())
	a.waits(t, "wait for the certificate of the collector's authority")
	mount(t, a.ca, c.Authority().PEM())
	a.waits(t, "wait for the ServiceAccount token")
	token := cluster.token(agentAccount, audience, pod)
	check(t, cluster.StopAPI(t.Context()))
	mount(t, a.token, []byte(token))
	a.waits(t, "cannot ask the Kubernetes API server")
	check(t, cluster.StartAPI(t.Context()))
	c.connected(t, "worker-1")
	_, err := a.alerts.Append(collectortest.Encode(t, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
		Rule: "from the agent", Event: &apiv1.Event{Type: "exec", TimeNs: time.Now().UnixNano()},
	}}}))
	check(t, err)
	wait.Until(t, patience, func() error {
		found := false
		c.holdfast(t, func(line []byte) { found = found || bytes.Contains(line, []byte("from the agent")) }, "alerts", "--since", "1h")
		if !found {
			return fmt.Errorf("the alert has not arrived; the agent says %v", a.Stats().LastError)
		}
		return nil
	})

	// It comes back by its certificate alone.
	a.stop()
	check(t, cluster.StopAPI(t.Context()))
	check(t, os.Remove(a.token))
	again := startAgent(t, dir, "worker-1", c.GRPCAddr().String())
	c.connected(t, "worker-1")
	if strings.Contains(again.log.String(), "node enrolled") {
		t.Error("it has enrolled again")
	}
	if strings.Contains(a.log.String()+again.log.String()+c.Log.String(), strings.Split(token, ".")[2]) {
		t.Error("a log has the token")
	}
}

// TestAgentOfRevokedNode revokes the node of a connected agent: the agent stays out, with its token too, until the node is
// allowed and the kubelet has put a new token in place.
func TestAgentOfRevokedNode(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, collectorUser)
	pod := cluster.pod("agent-1", agentAccount, "worker-1")
	a := startAgent(t, t.TempDir(), "worker-1", c.GRPCAddr().String())
	mount(t, a.ca, c.Authority().PEM())
	mount(t, a.token, []byte(cluster.token(agentAccount, audience, pod)))
	c.connected(t, "worker-1")
	check(t, c.Fleet().Revoke(t.Context(), "worker-1"))
	a.waits(t, "does not help")
	c.reported(t, "worker-1", "127.0.0.1", string(authority.CauseNodeRevoked))
	check(t, c.Authority().Allow(t.Context(), "worker-1"))
	// Tokens name the second in which they were made.
	time.Sleep(time.Second)
	mount(t, a.token, []byte(cluster.token(agentAccount, audience, pod)))
	c.connected(t, "worker-1")
	if !strings.Contains(a.log.String(), "has enrolled anew with its ServiceAccount token") {
		t.Error("the log does not say how it came back")
	}
}

// TestOtherCollector points an agent at a collector that another authority vouches for: it tells it nothing, and takes it when
// the file has its authority.
func TestOtherCollector(t *testing.T) {
	cluster := startCluster(t)
	ours, theirs := startCollector(cluster, collectorUser), startCollector(cluster, collectorUser)
	pod := cluster.pod("agent-1", agentAccount, "worker-1")
	a := startAgent(t, t.TempDir(), "worker-1", theirs.GRPCAddr().String())
	mount(t, a.ca, ours.Authority().PEM())
	mount(t, a.token, []byte(cluster.token(agentAccount, audience, pod)))
	a.waits(t, "whose authority is in")
	mount(t, a.ca, append(ours.Authority().PEM(), theirs.Authority().PEM()...))
	theirs.connected(t, "worker-1")
}

// TestJoinTokenBesides checks that a collector that takes ServiceAccount tokens takes join tokens too.
func TestJoinTokenBesides(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, collectorUser)
	check(t, cluster.StopAPI(t.Context()))
	token := c.Token(t, authority.Grant{Role: store.RoleJoin, Uses: 1})
	if _, err := collectortest.Enrol(t.Context(), c.GRPCAddr().String(), token, "plain-host"); err != nil {
		t.Error(err)
	}
}
