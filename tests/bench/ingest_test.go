// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
)

const (
	ingestAgents = 32
	ingestBatch  = 16 // alerts in a batch
	ingestRounds = 7
)

// BenchmarkCommit compares batches of several agents in a commit each with the same
// batches merged into one, in turns within each round.
func BenchmarkCommit(b *testing.B) {
	s, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	next := uint64(1)
	round := func() []store.Batch {
		batches := make([]store.Batch, ingestAgents)
		for i := range batches {
			batches[i] = store.Batch{Node: fmt.Sprint("node-", i), Epoch: 1, Received: time.Now()}
			for j := range uint64(ingestBatch) {
				batches[i].Entries = append(batches[i].Entries, store.Entry{Sequence: next + j, Record: ingestAlert(int(next + j))})
			}
		}
		next += ingestBatch
		return batches
	}
	times := map[string][]float64{}
	b.ResetTimer()
	for range max(b.N, ingestRounds) {
		for name, per := range map[string]int{"each": 1, "merged": ingestAgents} {
			batches := round()
			begin := time.Now()
			for i := 0; i < len(batches); i += per {
				if _, err := s.Append(b.Context(), apiv1.Lane_LANE_ALERTS, batches[i:i+per]); err != nil {
					b.Fatal(err)
				}
			}
			times[name] = append(times[name], time.Since(begin).Seconds())
		}
	}
	each, merged := median(times["each"]), median(times["merged"])
	b.ReportMetric(ingestAgents*ingestBatch/each, "alerts/s-each")
	b.ReportMetric(ingestAgents*ingestBatch/merged, "alerts/s-merged")
	b.ReportMetric(each/merged, "merged-times-each")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIngest measures the whole line, from agents over TLS to the commit that
// is acknowledged: one agent and several, in turns.
func BenchmarkIngest(b *testing.B) {
	c := collectortest.Start(b, collector.Config{})
	var senders []*ingestSender
	for i := range ingestAgents {
		agent := c.Enrol(b, fmt.Sprint("node-", i))
		stream, _, err := agent.Connect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s := &ingestSender{stream: stream, next: 1}
		for j := range 100 {
			s.records = append(s.records, collectortest.Encode(b, ingestAlert(j)))
		}
		senders = append(senders, s)
	}
	defer func() {
		for _, s := range senders {
			if err := s.stream.Close(); err != nil {
				b.Error(err)
			}
		}
	}()
	const total = 6400
	times := map[int][]float64{}
	b.ResetTimer()
	for range max(b.N, ingestRounds) {
		for _, n := range []int{1, ingestAgents} {
			begin := time.Now()
			if err := pushAll(senders[:n], total/n); err != nil {
				b.Fatal(err)
			}
			times[n] = append(times[n], time.Since(begin).Seconds())
		}
	}
	one, many := median(times[1]), median(times[ingestAgents])
	b.ReportMetric(total/one, "alerts/s-1-agent")
	b.ReportMetric(total/many, fmt.Sprintf("alerts/s-%d-agents", ingestAgents))
	b.ReportMetric(one/many, "many-times-one")
	b.ReportMetric(0, "ns/op")
}

// ingestSender is an agent that sends the same alerts again and again.
type ingestSender struct {
	stream  *collectortest.Stream
	records [][]byte
	next    uint64
}

// push sends n alerts, in batches of at most 100, and waits until they are stored.
func (s *ingestSender) push(n int) error {
	for n > 0 {
		part := s.records[:min(n, len(s.records))]
		if err := s.stream.Say(&apiv1.Batch{Lane: apiv1.Lane_LANE_ALERTS, Epoch: 1, First: s.next, Records: part}); err != nil {
			return err
		}
		s.next += uint64(len(part))
		n -= len(part)
	}
	_, err := s.stream.Ack(apiv1.Lane_LANE_ALERTS, 1, s.next-1)
	return err
}

func pushAll(senders []*ingestSender, each int) error {
	var group sync.WaitGroup
	errs := make([]error, len(senders))
	for i, s := range senders {
		group.Go(func() { errs[i] = s.push(each) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// ingestAlert is an alert of about a kilobyte, with a process, its parent and a
// container.
func ingestAlert(i int) *apiv1.Record {
	r := storetest.Alert(i, "Terminal shell in container", apiv1.Priority_PRIORITY_WARNING)
	a := r.GetAlert()
	a.Output = fmt.Sprintf("A shell was started in a container (user=root command=sh -c id %d parent=nginx container=web image=nginx:1.27 pod=web-0 namespace=shop)", i)
	a.Fields = map[string]string{"proc.name": "sh", "proc.cmdline": "sh -c id", "proc.pname": "nginx", "user.name": "root", "container.name": "web", "k8s.ns.name": "shop", "k8s.pod.name": "web-0"}
	p := a.GetEvent().GetProcess()
	p.Cwd, p.Comm, p.Tty, p.Flags = "/var/www/html", "sh", "pts/0", []string{"upper_layer"}
	p.Ancestors = []*apiv1.Process{{Pid: 1, Exe: "/usr/sbin/nginx", Comm: "nginx", Argv: []string{"nginx", "-g", "daemon off;"}, Cwd: "/"}}
	c := a.GetEvent().GetContainer()
	c.ImageDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	c.Labels = map[string]string{"app": "web", "pod-template-hash": "5d78c9869d"}
	return r
}
